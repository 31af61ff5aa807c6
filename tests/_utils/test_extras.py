"""Optional packages: there, or refused in one line that names the extra."""

import sys

import pytest

from frostline._utils.extras import require
from frostline.errors import ConfigError, DataError


def test_packages_that_are_installed_pass() -> None:
    require("explain", "explain", "json", "xml.dom")


def test_missing_package_is_refused_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ConfigError) as refused:
        require("explain", "explain", "json", "captum")
    assert str(refused.value) == "explain needs captum, which is not installed: pip install 'frostline[explain]'."


def test_a_missing_module_is_named_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xml.dom", None)
    with pytest.raises(ConfigError, match=r"^explain needs xml, which is not installed"):
        require("explain", "explain", "xml.dom")


def test_error_may_be_that_of_the_caller() -> None:
    with pytest.raises(DataError, match=r"^a table needs no_such_package, which is not installed"):
        require("a table", "parquet", "no_such_package", error=DataError)

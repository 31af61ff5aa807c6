"""The error tree, suggestions for misspelled names, and system errors as one line."""

import errno
import inspect
import re
import sys

import pytest
import torch

from frostline import errors
from frostline.errors import (
    ConfigError,
    DataError,
    FrostlineError,
    StorageError,
    UnknownNameError,
    did_you_mean,
    is_disk_error,
    is_out_of_memory,
    require,
    storage_error,
    stream_error,
)


def test_tree_in_the_docstring_is_complete() -> None:
    drawn = set(re.findall(r"\w+Error\b", errors.__doc__ or ""))
    defined = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, FrostlineError)}
    assert drawn == defined


def test_unknown_name_lists_the_allowed_and_suggests_the_nearest() -> None:
    error = UnknownNameError("model", "alexnt", ["alexnet", "vgg16"])
    assert str(error) == "unknown model 'alexnt': expected one of alexnet, vgg16. Did you mean 'alexnet'?"
    assert (error.name, error.allowed) == ("alexnt", ["alexnet", "vgg16"])


def test_unknown_name_unlike_any_other_gets_no_suggestion() -> None:
    assert str(UnknownNameError("model", "qqq", ["alexnet"])) == "unknown model 'qqq': expected one of alexnet."


@pytest.mark.parametrize("name", ["AlexNet", "ALEXNT", "alex-net"])
def test_nearest_match_ignores_case(name: str) -> None:
    assert did_you_mean(name, ["alexnet", "vgg16"]) == " Did you mean 'alexnet'?"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "larger than the system allows"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.ENOTDIR, "is a file, not a folder"),
        (errno.EEXIST, "already exists"),
        (errno.EIO, "input/output error"),
    ],
)
def test_disk_error_has_path_cause_and_option(number: int, words: str) -> None:
    refusal = OSError(number, "cause", "/some/file")
    message = str(storage_error(refusal, remedy="--cache-dir chooses another"))
    assert is_disk_error(refusal)
    assert message.startswith("cannot use /some/file: ")
    assert words in message
    assert "(--cache-dir chooses another)" in message
    assert message.endswith("Existing files were not modified.")
    assert "\n" not in message


@pytest.mark.parametrize("number", [errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES])
def test_errors_of_one_file_are_user_errors_only_if_they_name_it(number: int) -> None:
    assert is_disk_error(OSError(number, "cause", "/some/file"))
    assert not is_disk_error(OSError(number, "cause"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.EIO])
def test_errors_of_the_system_are_not_defects(number: int) -> None:
    assert is_disk_error(OSError(number, "cause"))
    assert "cannot use a file (not named by the system): " in str(storage_error(OSError(number, "cause")))


def test_a_stream_is_named() -> None:
    message = str(stream_error(OSError(errno.ENOSPC, "cause"), "standard output"))
    assert message.startswith("cannot write to standard output: the disk is full")


def test_out_of_memory_is_recognized() -> None:
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 46)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RecursionError("maximum recursion depth exceeded"))


def test_other_system_errors_keep_their_message() -> None:
    other = OSError(errno.ECONNREFUSED, "Connection refused", "/socket")
    assert not is_disk_error(other)
    error = storage_error(other, "/there")
    assert isinstance(error, StorageError)
    assert "cannot use /there: Connection refused." in str(error)


def test_installed_packages_are_accepted() -> None:
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


def test_missing_package_with_another_error_type() -> None:
    with pytest.raises(DataError, match=r"^a table needs no_such_package, which is not installed"):
        require("a table", "parquet", "no_such_package", error=DataError)

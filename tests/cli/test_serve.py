"""`frostline serve`; the server itself is tested in tests/serve."""

from functools import partial

import pytest

from tests.commands import lacking


@pytest.mark.parametrize("package", ["fastapi", "httptools", "uvicorn"])
def test_missing_package_is_named_with_its_extra(frostline, package):
    done = frostline("serve", "first", within=partial(lacking, package))
    assert done.returncode == 2
    assert done.stderr == f"frostline: serve needs {package}, which is not installed: pip install 'frostline[serve]'.\n"

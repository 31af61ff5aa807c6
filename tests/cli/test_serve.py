"""`frostline serve`; what it serves stands in tests/serve."""

from functools import partial

import pytest

from tests.commands import lacking


@pytest.mark.parametrize("package", ["fastapi", "httptools", "uvicorn"])
def test_without_a_package_one_line_says_what_to_install(frostline, package):
    done = frostline("serve", "first", within=partial(lacking, package))
    assert done.returncode == 2
    assert done.stderr == f"frostline: serve needs {package}, which is not installed: pip install 'frostline[serve]'.\n"

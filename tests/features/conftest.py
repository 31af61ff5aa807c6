"""One quick frozen part for all tests of the cache."""

import pytest

from frostline.features.forward import FastForward
from tests.features.passes import make_forward


@pytest.fixture(scope="package")
def forward() -> FastForward:
    """AlexNet's first stage at 64 px: 3,136 numbers a row, thousands of rows a second."""
    return make_forward("conv1")

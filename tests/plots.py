"""Most tests leave a run's plots undrawn, half of a small run's time; `tests/runs` and the installed script draw."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DOT = b"\x89PNG\r\n\x1a\n"


def _leave_out(*arguments: object) -> None:
    path = arguments[-1]
    assert isinstance(path, Path)
    path.write_bytes(DOT)


@contextmanager
def undrawn_plots() -> Iterator[None]:
    """Write a file in the place of each plot."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_curves", "draw_confusion"):
            patch.setattr(f"frostline.runs.fit.{name}", _leave_out)
        yield


@contextmanager
def drawn_plots() -> Iterator[None]:
    """Draw the plots, as outside the tests."""
    from frostline.runs import pictures

    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_curves", "draw_confusion"):
            patch.setattr(f"frostline.runs.fit.{name}", getattr(pictures, name))
        yield

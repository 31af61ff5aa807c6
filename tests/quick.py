"""What most tests leave out of each run, as it takes longer than all the rest of a small one.

Its two plots, and nine in ten of the drawn images that ridge learns from beforehand and pre-training is probed on. A
test that looks at these asks for `whole_runs`; the installed script, and other processes that a test starts, always do
everything.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from frostline.data import drawn_objects
from frostline.runs.artifacts import draw_confusion, draw_curves
from tools.pretraining import probe

DOT = b"\x89PNG\r\n\x1a\n"
PLOTS = {"draw_curves": draw_curves, "draw_confusion": draw_confusion}
OBJECTS, IMAGES = 50, 2  # of each object
PROBED = 12  # images of each object


def _leave_out(*arguments: object) -> None:
    path = arguments[-1]
    assert isinstance(path, Path)
    path.write_bytes(DOT)


@contextmanager
def quick_runs() -> Iterator[None]:
    """Write a file in the place of each plot; draw few images for ridge and for the probe."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PLOTS:
            patch.setattr(f"frostline.runs.artifacts.{name}", _leave_out)
        patch.setattr("tools.pretraining.train.held_out_accuracy", _probed_on_few)
        with _prior_of(OBJECTS, IMAGES):
            yield


def _probed_on_few(state: Mapping[str, torch.Tensor], device: torch.device, per_class: int) -> float:
    return probe.held_out_accuracy(state, device, min(per_class, PROBED))


@contextmanager
def whole_runs() -> Iterator[None]:
    """Do all that is done outside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, draw in PLOTS.items():
            patch.setattr(f"frostline.runs.artifacts.{name}", draw)
        patch.setattr("tools.pretraining.train.held_out_accuracy", probe.held_out_accuracy)
        with _prior_of(drawn_objects.PRIOR_OBJECTS, drawn_objects.PRIOR_IMAGES):
            yield


@contextmanager
def _prior_of(*amounts: int) -> Iterator[None]:
    load = drawn_objects.load_prior
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load.__wrapped__, "__defaults__", amounts)
        load.cache_clear()
        yield
    load.cache_clear()

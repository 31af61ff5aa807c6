"""In which order stages thaw."""

import pytest

from frostline.models.boundary import make_boundary
from frostline.models.registry import outline
from frostline.training.thaw import boundaries, shares


@pytest.mark.parametrize(
    ("freeze", "schedule", "expected"),
    [
        ("conv5", "head-first", ["conv5"]),
        ("conv5", "gradual", ["conv5"]),
        ("conv3", "head-first", ["conv5", "conv3"]),
        ("conv3", "gradual", ["conv5", "conv4", "conv3"]),
        ("conv3", "together", ["conv3"]),
        ("none", "head-first", ["conv5", "none"]),
        ("none", "gradual", ["conv5", "conv4", "conv3", "conv2", "conv1", "none"]),
        ("fc6", "gradual", ["fc6"]),
    ],
)
@pytest.mark.parametrize("taps", [(), ("conv1", "conv5")])
def test_boundaries_move_down_to_the_one_asked_for(freeze, schedule, expected, taps):
    backbone = outline("alexnet")
    boundary = make_boundary(backbone, freeze, taps if freeze != "fc6" else ())
    cuts = boundaries(backbone, boundary, schedule)
    assert [cut.freeze for cut in cuts] == expected
    assert cuts[-1] == boundary
    assert {(cut.taps, cut.end) for cut in cuts} == {(boundary.taps, boundary.end)}


@pytest.mark.parametrize(
    ("epochs", "phases", "expected"), [(12, 1, [12]), (12, 3, [4, 4, 4]), (10, 3, [3, 3, 4]), (2, 3, [1, 1, 1])]
)
def test_epochs_are_shared(epochs, phases, expected):
    assert shares(epochs, phases) == expected

"""The losses of pre-training."""

import math

import pytest
import torch

from frostline.synthetic.scene import Labels, Program, draw_labels, draw_scenes
from tools.pretraining.losses import SIDE, SKETCHES, Outputs, Weights, supervised, true_sketches

LABELS = Labels(torch.tensor([0, 1]), torch.tensor([2, 2]))
NUMBERS = len(SKETCHES) * SIDE**2
TRUTH = torch.randn(2, NUMBERS, generator=torch.Generator().manual_seed(0))


def outputs(objects=4, textures=8, sketches=()):
    return Outputs(torch.zeros(2, objects), torch.zeros(2, textures), list(sketches))


def test_guessing_costs_the_logarithms_of_the_counts():
    loss = supervised(outputs(), LABELS, TRUTH, Weights(textures=0.5))
    assert math.isclose(loss.item(), math.log(4) + 0.5 * math.log(8), rel_tol=1e-6)


def test_being_right_costs_nothing():
    right = outputs(sketches=[TRUTH, TRUTH])
    right.objects[[0, 1], LABELS.objects] = 100
    right.textures[[0, 1], LABELS.textures] = 100
    assert supervised(right, LABELS, TRUTH, Weights()).item() < 1e-6


def test_object_loss_is_optional():
    silent = Outputs(None, torch.zeros(2, 8), [])
    assert math.isclose(supervised(silent, LABELS, TRUTH, Weights(textures=1)).item(), math.log(8), rel_tol=1e-6)


def test_earlier_sketches_have_a_smaller_weight():
    none = supervised(outputs(), LABELS, TRUTH, Weights()).item()
    for sketches, expected in ([[TRUTH, TRUTH + 1], 1.0], [[TRUTH + 1, TRUTH], 0.25]):
        loss = supervised(outputs(sketches=sketches), LABELS, TRUTH, Weights(sketches=2, earlier=0.25)).item() - none
        assert math.isclose(loss, 2 * len(SKETCHES) * expected, rel_tol=1e-5)


def test_losses_of_float16_logits_are_computed_in_float32():
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    loss = supervised(Outputs(logits, torch.zeros(2, 8), []), LABELS, TRUTH, Weights())
    assert loss.dtype == torch.float32


@pytest.fixture(scope="module")
def sketches():
    """True sketches (300, kinds, side, side) of images and their labels."""
    program, index = Program(), torch.arange(300)
    labels = draw_labels(program, index)
    drawing = draw_scenes(program, index, 64, labels)
    return true_sketches(program, drawing, labels).view(300, len(SKETCHES), SIDE, SIDE), drawing, labels


def test_sketches_are_about_standardized(sketches):
    for kind in sketches[0].unbind(1):
        assert abs(kind.mean()) < 0.6
        assert 0.5 < kind.std() < 1.6


def test_sketches_show_image_and_cover(sketches):
    seen, drawing, _ = sketches
    small = torch.nn.functional.interpolate(drawing.images.mean(1, keepdim=True), size=SIDE, mode="area")
    assert torch.corrcoef(torch.stack([seen[:, 0].flatten(), small.flatten()]))[0, 1] > 0.999
    cover = torch.nn.functional.interpolate(drawing.cover, size=SIDE, mode="area")
    assert torch.corrcoef(torch.stack([seen[:, 1].flatten(), cover.flatten()]))[0, 1] > 0.999


def test_an_object_has_one_plan_however_it_is_drawn():
    program = Program()
    index = torch.arange(6)
    labels = Labels(torch.tensor([5, 5, 5, 9, 9, 9]), torch.zeros(6, dtype=torch.int64))
    seen = true_sketches(program, draw_scenes(program, index, 64, labels), labels).view(6, len(SKETCHES), -1)
    cover, plan = seen[:, 1], seen[:, 3]
    assert torch.equal(plan[0], plan[1]) and not torch.equal(plan[0], plan[3])
    assert not torch.equal(cover[0], cover[1])

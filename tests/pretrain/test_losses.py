"""What the network is asked."""

import math

import torch

from frostline.images.drawn.scene import Labels
from frostline.pretrain.losses import supervised

LABELS = Labels(torch.tensor([0, 1]), torch.tensor([2, 2]))


def test_guessing_costs_the_logarithms_of_the_counts():
    loss = supervised(torch.zeros(2, 4), torch.zeros(2, 8), LABELS, texture_weight=0.5)
    assert math.isclose(loss.item(), math.log(4) + 0.5 * math.log(8), rel_tol=1e-6)


def test_being_right_costs_nothing():
    objects, textures = torch.zeros(2, 4), torch.zeros(2, 8)
    objects[[0, 1], LABELS.objects] = 100
    textures[[0, 1], LABELS.textures] = 100
    assert supervised(objects, textures, LABELS, texture_weight=0.5).item() < 1e-6


def test_halves_are_summed_as_whole_numbers():
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    loss = supervised(logits, torch.zeros(2, 8), LABELS, texture_weight=1.0)
    assert loss.dtype == torch.float32

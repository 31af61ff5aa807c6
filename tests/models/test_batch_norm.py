"""Batch normalization is inserted and folded away without changing a network's output."""

import copy

import pytest
import torch
from torch import nn

from frostline.models.batch_norm import NormalizedConvolution, fold, normalize, plain_convolutions
from frostline.models.boundary import Thawed, make_boundary
from frostline.models.registry import load_backbone

SIZE = 64


@pytest.fixture
def trunk():
    """AlexNet's stages above conv2, pre-trained, with the backbone that they belong to and rows for them."""
    backbone = load_backbone(weights="bundled")
    boundary = make_boundary(backbone, "conv2", ())
    rows = backbone.between(None, "conv2")(torch.randn(16, 3, SIZE, SIZE)).detach()
    return Thawed(backbone, boundary, SIZE), backbone, rows


def near(found, expected, tolerance=1e-3):
    return torch.allclose(found, expected, atol=tolerance * expected.abs().max().item())


def normalized(module):
    return [layer for layer in module.modules() if isinstance(layer, NormalizedConvolution)]


def test_inserting_it_does_not_change_the_output(trunk):
    trunk, _, rows = trunk
    expected = trunk.eval()(rows)
    normalize(trunk, rows)
    assert len(normalized(trunk)) == 3
    assert near(trunk.eval()(rows), expected)


def test_training_mode_output_on_the_initial_rows_is_unchanged(trunk):
    trunk, _, rows = trunk
    expected = trunk.eval()(rows)
    normalize(trunk, rows)
    assert near(trunk.train()(rows), expected, 0.01)  # a batch's own variance is divided by n, not n - 1


def test_folding_after_training_preserves_the_eval_output(trunk):
    trunk, backbone, rows = trunk
    before = copy.deepcopy(backbone.state_dict())
    normalize(trunk, rows)
    optimizer = torch.optim.SGD(trunk.parameters(), lr=1e-3)
    for _ in range(5):
        optimizer.zero_grad()
        trunk.train()(rows).square().mean().backward()
        optimizer.step()
    expected = trunk.eval()(rows)
    fold(trunk)
    assert near(trunk(rows), expected)
    after = backbone.state_dict()  # the backbone shares the stages: it is plain again, and has learned
    assert list(after) == list(before)
    moved = {key.split(".")[1] for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved == {"conv3", "conv4", "conv5"}


def test_only_convolutions_that_nothing_normalizes_are_found():
    plain = nn.Conv2d(3, 4, 3)
    done = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    network = nn.Sequential(nn.Sequential(plain, nn.ReLU()), done)
    assert [found for _, _, found in plain_convolutions(network)] == [plain]


def test_folding_leaves_a_plain_network_as_it_is(trunk):
    trunk, backbone, _ = trunk
    before = list(backbone.modules())
    fold(trunk)
    assert list(backbone.modules()) == before

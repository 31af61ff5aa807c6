"""The moving average of the weights."""

import copy

import pytest
import torch
from torch import nn

from frostline.training.average import RAMP, Average
from frostline.training.trainer import measure, train


def test_it_moves_fast_at_first_and_slowly_later():
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0)
    average = Average(module, decay=0.9)
    with torch.no_grad():
        module.weight.fill_(1)
    seen, expected = [], 0.0
    for n in range(200):
        average.update(module)
        keep = min(0.9, (1 + n) / (RAMP + n))
        expected = keep * expected + (1 - keep)
        seen.append(average.module.weight.item())
        assert seen[-1] == pytest.approx(expected, abs=1e-5)
    assert seen[0] == pytest.approx(0.9) and seen[-1] == pytest.approx(1)


def test_buffers_go_along_and_the_module_stays_as_it_is():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(module, decay=0.5)
    module(torch.randn(8, 2))
    before = copy.deepcopy(module.state_dict())
    average.update(module)
    assert average.module[1].num_batches_tracked == 1
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in average.module.parameters())


def test_training_keeps_the_average_and_not_the_last_step(narrow, make_head, make_recipe):
    recipe = make_recipe(lr=0.1, lr_schedule="constant", epochs=4)
    plain, averaged = make_head(narrow[0]), make_head(narrow[0])
    wild = train(plain, *narrow, recipe)
    calm = train(averaged, *narrow, make_recipe(lr=0.1, lr_schedule="constant", epochs=4, ema=0.98))
    assert [line.train_loss for line in wild.history] == [line.train_loss for line in calm.history]
    assert calm.history[-1].val_loss < wild.history[-1].val_loss
    best = calm.history[calm.best_epoch - 1]
    assert measure(averaged, narrow[1]) == (best.val_loss, best.val_accuracy)

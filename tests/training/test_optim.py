"""Learning-rate schedules, the two optimizers and the moving average of the weights."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from frostline.training.optim import EMA_RAMP, averaged_model, layer_groups, learning_rate, make_optimizer
from frostline.training.trainer import measure, train


def rates(schedule: str, steps: int = 1001, peak: float = 0.1) -> list[float]:
    return [learning_rate(schedule, peak, step, steps) for step in range(steps)]


def test_onecycle_climbs_to_the_peak_and_falls_to_nothing():
    lr = rates("onecycle")
    assert lr[0] == pytest.approx(0.1 / 25)
    assert lr[300] == pytest.approx(0.1)
    assert lr[-1] == pytest.approx(0.1 * 1e-4)
    assert lr[:301] == sorted(lr[:301])
    assert lr[300:] == sorted(lr[300:], reverse=True)


def test_cosine_only_falls():
    lr = rates("cosine")
    assert lr[0] == pytest.approx(0.1)
    assert lr[500] == pytest.approx(0.1 * (1 + 1e-4) / 2)
    assert lr[-1] == pytest.approx(0.1 * 1e-4)
    assert lr == sorted(lr, reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_warming_up_climbs_in_a_straight_line(schedule):
    lr = [learning_rate(schedule, 0.1, step, 1001, warm_up=0.1) for step in range(1001)]
    steps = [after - before for before, after in pairwise(lr[:100])]
    assert steps == pytest.approx([steps[0]] * 99) and steps[0] > 0
    assert lr[0] == pytest.approx(0.1 / 101)
    assert lr[100] == pytest.approx(0.1)
    assert lr[-1] == pytest.approx(0.1 * 1e-4 if schedule == "cosine" else 0.1)


def test_onecycle_rises_for_the_requested_share():
    lr = [learning_rate("onecycle", 0.1, step, 1001, warm_up=0.1) for step in range(1001)]
    assert lr.index(max(lr)) == 100
    assert lr[-1] == pytest.approx(0.1 * 1e-4)


def test_constant_stays():
    assert set(rates("constant")) == {0.1}


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
def test_a_single_step_has_a_rate(schedule):
    assert 0 < learning_rate(schedule, 0.1, 0, 1) <= 0.1


def test_rates_scale_with_the_peak():
    assert [10 * lr for lr in rates("onecycle", 50, 0.01)] == pytest.approx(rates("onecycle", 50, 0.1))


def test_adamw_takes_rate_and_decay():
    optimizer = make_optimizer("adamw", [{"params": [nn.Parameter(torch.ones(2))]}], 0.01, 0.2, 0.9)
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.01, 0.2)


def test_adamw_decays_weights_apart_from_the_gradient():
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.zeros(1)
    make_optimizer("adamw", [{"params": [weight]}], 0.1, 0.5, 0.9).step()
    assert weight.item() == pytest.approx(1 - 0.1 * 0.5)


def test_sgd_uses_nesterov_momentum():
    optimizer = make_optimizer("sgd", [{"params": [nn.Parameter(torch.ones(2))]}], 0.01, 0.2, 0.8)
    assert type(optimizer) is torch.optim.SGD
    assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.8, True)


def test_sgd_without_momentum_is_plain():
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.full((1,), 2.0)
    make_optimizer("sgd", [{"params": [weight]}], 0.1, 0.0, 0.0).step()
    assert weight.item() == pytest.approx(0.8)


def test_deeper_stages_learn_more_slowly():
    stages, head = [nn.Linear(1, 1), nn.Linear(2, 2)], nn.Linear(3, 3)
    groups = layer_groups(stages, head, 0.5)
    assert [group["scale"] for group in groups] == [1.0, 0.5, 0.25]
    assert [group["params"][0] for group in groups] == [head.weight, stages[1].weight, stages[0].weight]


def test_each_group_keeps_its_share_while_training(narrow, make_head, make_recipe):
    head = make_head(narrow[0], "mlp")
    groups = [{"params": [*head.rest.parameters()]}, {"params": [*head.first.parameters()], "scale": 1e-6}]
    before = head.first.weight.detach().clone()
    train(head, *narrow, make_recipe(epochs=1), groups=groups)
    assert (head.first.weight - before).abs().max() < 1e-6
    still = head.rest[2].weight.detach().clone()
    train(head, *narrow, make_recipe(epochs=1), groups=groups)
    assert (head.rest[2].weight - still).abs().max() > 1e-3


def test_the_average_moves_fast_at_first_and_slowly_later():
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0)
    average = averaged_model(module, decay=0.9)
    with torch.no_grad():
        module.weight.fill_(1)
    seen, expected = [], 0.0
    for n in range(200):
        average.update_parameters(module)
        keep = min(0.9, (1 + n) / (EMA_RAMP + n))
        expected = keep * expected + (1 - keep)
        seen.append(average.module.weight.item())
        assert seen[-1] == pytest.approx(expected, abs=1e-5)
    assert seen[0] == pytest.approx(0.9) and seen[-1] == pytest.approx(1)


def test_buffers_go_along_and_the_module_stays_as_it_is():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = averaged_model(module, decay=0.5)
    module(torch.randn(8, 2))
    before = copy.deepcopy(module.state_dict())
    average.update_parameters(module)
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

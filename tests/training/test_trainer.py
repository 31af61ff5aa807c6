"""Training on cached features."""

import copy
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import frostline
from frostline.errors import DivergedError
from frostline.training.examples import moments
from frostline.training.trainer import gradient_steps, measure, predict_logits, train


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_it_learns(narrow, make_head, make_recipe, kind, optimizer):
    head = make_head(narrow[0], kind)
    before = measure(head, narrow[1])
    lr = 3e-3 if optimizer == "adamw" else 3e-2
    trained = train(head, *narrow, make_recipe(optimizer=optimizer, lr=lr, epochs=8))
    loss, accuracy = measure(head, narrow[1])
    assert accuracy > 0.6 > before[1] + 0.3
    assert loss < before[0]
    assert trained.history[-1].train_loss < trained.history[0].train_loss


def test_the_history_tells_every_epoch(narrow, make_head, make_recipe):
    trained = train(make_head(narrow[0]), *narrow, make_recipe(epochs=3))
    assert [line.epoch for line in trained.history] == [1, 2, 3]
    assert all(line.seconds > 0 and 0 <= line.train_accuracy <= 1 for line in trained.history)
    assert trained.history[-1].lr == pytest.approx(3e-3 * 1e-4)
    assert trained.seconds == pytest.approx(sum(line.seconds for line in trained.history))


def test_the_weights_of_the_best_epoch_are_restored(narrow, make_head, make_recipe):
    head = make_head(narrow[0])
    kept = []

    def keep(history):
        kept.append(copy.deepcopy(head.state_dict()))

    trained = train(head, *narrow, make_recipe(lr=0.1, lr_schedule="constant", epochs=12), on_epoch=keep)
    best = max(trained.history, key=lambda line: (line.val_accuracy, -line.val_loss))
    assert trained.best_epoch == best.epoch < 12
    assert all(torch.equal(value, kept[best.epoch - 1][key]) for key, value in head.state_dict().items())
    assert any(not torch.equal(value, kept[-1][key]) for key, value in head.state_dict().items())
    assert measure(head, narrow[1]) == (best.val_loss, best.val_accuracy)


def test_it_stops_when_validation_gets_no_better(narrow, make_head, make_recipe):
    recipe = make_recipe(lr=0.1, lr_schedule="constant", epochs=60, patience=3)
    trained = train(make_head(narrow[0]), *narrow, recipe)
    assert len(trained.history) < 60
    assert len(trained.history) - trained.best_epoch == 3


def test_a_rate_that_diverges_is_named(narrow, make_head, make_recipe):
    recipe = make_recipe(optimizer="sgd", lr=1e30)
    with pytest.raises(DivergedError, match=r"no longer finite in epoch 1, step \d+: --lr 1e\+30 is too high for sgd"):
        train(make_head(narrow[0], "mlp"), *narrow, recipe)


def test_every_epoch_is_reported(narrow, make_head, make_recipe):
    lengths = []
    train(make_head(narrow[0]), *narrow, make_recipe(epochs=4), on_epoch=lambda history: lengths.append(len(history)))
    assert lengths == [1, 2, 3, 4]


def test_every_epoch_is_logged_with_loss_accuracy_rate_and_seconds(narrow, make_head, make_recipe, caplog):
    with caplog.at_level("INFO", "frostline"):
        train(make_head(narrow[0]), *narrow, make_recipe(epochs=10))
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("epoch  1/10  train loss ")
    assert len(lines) == 10
    for word in ("train loss", "accuracy", "val loss", "lr ", " s"):
        assert all(word in line for line in lines)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_same_seed_gives_the_same_weights(narrow, make_head, make_recipe, kind):
    heads = [make_head(narrow[0], kind) for _ in range(2)]
    for number, head in enumerate(heads):
        torch.manual_seed(number)  # numbers drawn before do not matter
        train(head, *narrow, make_recipe(epochs=2))
    first, second = (head.state_dict() for head in heads)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_seed_gives_other_weights(narrow, make_head, make_recipe):
    heads = [make_head(narrow[0]) for _ in range(2)]
    for seed, head in enumerate(heads):
        train(head, *narrow, make_recipe(epochs=2, seed=seed))
    assert not torch.equal(heads[0].first.weight, heads[1].first.weight)


def test_parameters_without_gradient_do_not_change(narrow, make_head, make_recipe):
    head = make_head(narrow[0], "mlp")
    head.first.requires_grad_(False)
    before = copy.deepcopy(head.state_dict())
    train(head, *narrow, make_recipe(epochs=2))
    after = head.state_dict()
    moved = {key for key in after if not torch.equal(before[key], after[key])}
    assert moved == {"rest.2.weight", "rest.2.bias"}


def test_label_smoothing_raises_the_training_loss_alone(narrow, make_head, make_recipe):
    plain = train(make_head(narrow[0]), *narrow, make_recipe(epochs=6))
    smooth = train(make_head(narrow[0]), *narrow, make_recipe(epochs=6, label_smoothing=0.2))
    assert smooth.history[-1].train_loss > plain.history[-1].train_loss + 0.2
    assert smooth.history[-1].val_accuracy > 0.6


def test_measure_is_cross_entropy_and_accuracy(narrow, make_head):
    head = make_head(narrow[0], "mlp").eval()
    _, val = narrow
    logits = predict_logits(head, val)
    with torch.inference_mode():
        expected = head(val.rows.take(torch.arange(len(val)).numpy()))
    labels = torch.from_numpy(val.labels)
    assert torch.allclose(logits, expected, atol=1e-5)
    loss, accuracy = measure(head, val)
    assert loss == pytest.approx(functional.cross_entropy(expected, labels).item(), rel=1e-5)
    assert accuracy == pytest.approx((expected.argmax(1) == labels).double().mean().item())


def test_moments_are_mean_and_spread_of_the_rows(wide):
    train_part, _ = wide
    mean, std = moments(torch.nn.Identity(), train_part, seed=0)
    rows = train_part.rows.take(torch.arange(len(train_part)).numpy()).double()
    assert torch.allclose(mean.double(), rows.mean(0), atol=1e-4)
    assert torch.allclose(std.double(), rows.std(0, correction=0), atol=1e-3, rtol=1e-4)


def test_without_validation_the_last_epoch_is_used(narrow, make_head, make_recipe):
    head = make_head(narrow[0])
    kept = []
    trained = train(
        head,
        narrow[0],
        None,
        make_recipe(epochs=4, patience=1),
        on_epoch=lambda _: kept.append(head.first.weight.clone()),
    )
    assert trained.best_epoch == len(trained.history) == 4
    assert torch.equal(head.first.weight, kept[-1])


def test_the_gradient_is_clipped(narrow, make_head, make_recipe):
    recipe = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "weight_decay": 0.0,
        "lr_schedule": "constant",
        "epochs": 1,
        "lr": 1.0,
    }
    head = make_head(narrow[0])
    train(head, *narrow, make_recipe(**recipe, clip_norm=1e-3))
    steps = -(-len(narrow[0]) // 64)
    moved = torch.cat([parameter.detach().flatten() for parameter in head.parameters()]).norm()
    assert 0 < moved <= steps * 1e-3 * 1.001  # a head begins at zero


def test_there_is_one_mini_batch_loop():
    root = Path(frostline.__file__).parent
    sources = [*root.rglob("*.py"), *(root.parents[1] / "tools").rglob("*.py")]
    assert [path.name for path in sources if ".backward()" in path.read_text()] == ["trainer.py"]


def test_steps_scale_the_rate_and_name_where_the_loss_diverged():
    weight = torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([{"params": [weight], "scale": 0.5}])
    steps = gradient_steps(
        optimizer,
        [(0.1, 1.0), (0.2, float("inf"))],
        lambda factor: (factor * weight, "seen"),
        where="a test",
        remedy="try less.",
    )
    assert next(steps) == (1.0, "seen", 1.0)
    assert weight.item() == pytest.approx(1 - 0.1 * 0.5)
    with pytest.raises(DivergedError, match="no longer finite in a test, step 2: try less"):
        next(steps)

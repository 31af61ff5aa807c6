"""The learning-rate range test."""

import numpy as np
import pytest
import torch

from frostline._utils.progress import Silent
from frostline.config import TrainConfig
from frostline.data.arrays import from_arrays
from frostline.errors import ConfigError, DivergedError
from frostline.pipeline.context import make_context
from frostline.pipeline.extract import extract
from frostline.pipeline.resolve import resolve
from frostline.pipeline.train import prepare_phase
from frostline.runs.fit import fit
from frostline.studies.lr_finder import EXPLODED, Span, draw_curve, find_lr, range_test, read_curve, smooth
from frostline.training.examples import Examples
from frostline.training.optim import layer_groups
from frostline.training.trainer import Recipe
from tests.runs.test_artifacts import colored, pixels
from tests.small_run import small_config

THAWED = {"freeze": "conv3", "limit": 75, "head_epochs": 5, "batch_size": 20, "lr": None}
WIDE = {"lowest": 1e-6, "highest": 100.0, "steps": 120}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def tested(small_fashion, place):
    """The curve of a head on a random network, whose small features tolerate large rates."""
    return find_lr(small_config(small_fashion), **WIDE, cache_dir=place)


class InMemory:
    """Rows in memory."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def take(self, indices):
        return self.rows[indices]


class Watch(Silent):
    """A progress display that calls a function after every step."""

    def __init__(self, callback):
        self.callback = callback

    def bar(self, label, total, unit):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount):
        self.callback()

    def note(self, text):
        pass


def weights(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(ours, theirs):
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_the_rates_rise_by_equal_factors(tested):
    assert tested.rates[0] == pytest.approx(1e-6)
    np.testing.assert_allclose(tested.rates[1:] / tested.rates[:-1], 1e8 ** (1 / 119))
    assert Span(1e-4, 1e-1, 10).rates[[0, -1]] == pytest.approx([1e-4, 1e-1])


def test_the_loss_falls_and_then_explodes(tested):
    lowest = tested.smoothed.argmin()
    assert tested.losses[0] == pytest.approx(np.log(10), rel=1e-4)
    assert tested.smoothed[lowest] < 0.75 * tested.smoothed[0]
    assert tested.smoothed[-1] > EXPLODED * tested.smoothed[lowest]
    assert 10 < len(tested.rates) == len(tested.losses) == len(tested.smoothed) < 120


def test_training_with_the_suggestion_beats_a_thousandth_of_it(tested, small_fashion, place, tmp_path):
    assert 1e-6 < tested.steepest < 100
    assert 1e-6 < tested.suggestion < 100
    suggested, smaller = (
        fit(small_config(small_fashion, lr=lr, epochs=6), name=name, output_dir=tmp_path, cache_dir=place).history[-1]
        for name, lr in (("suggested", tested.suggestion), ("smaller", tested.suggestion / 1000))
    )
    assert suggested.train_loss < 0.8 * smaller.train_loss
    assert suggested.val_loss < smaller.val_loss


def test_the_same_seed_gives_the_same_curve(tested, small_fashion, place):
    again = find_lr(small_config(small_fashion), **WIDE, cache_dir=place)
    np.testing.assert_array_equal(again.losses, tested.losses)
    other = find_lr(small_config(small_fashion, seed=1), **WIDE, cache_dir=place)
    assert other.losses[20] != tested.losses[20]


def test_a_head_with_dropout_is_as_repeatable(small_fashion, place):
    config = small_config(small_fashion, head="mlp", hidden_width=16)
    first, second = (find_lr(config, lowest=1e-4, highest=1e-2, steps=12, cache_dir=place) for _ in range(2))
    np.testing.assert_array_equal(first.losses, second.losses)


@pytest.mark.parametrize("schedule", ["head-first", "gradual", "together"])
def test_thawed_stages_are_tested_above_a_head_as_a_run_has_it(small_fashion, place, schedule):
    changes = {"schedule": schedule, "head_epochs": None if schedule == "together" else 10}
    test = find_lr(small_config(small_fashion, **THAWED | changes), steps=40, cache_dir=place)
    if schedule == "together":
        assert test.losses[0] == pytest.approx(np.log(10), rel=1e-4)
    else:
        assert test.losses[0] < 2.1
    assert 1e-6 < test.suggestion < 0.1


def test_pixels_are_read_when_nothing_is_frozen(small_fashion, place):
    config = small_config(small_fashion, **THAWED | {"freeze": "none"})
    test = find_lr(config, lowest=1e-6, highest=1e-2, steps=10, cache_dir=place)
    assert np.isfinite(test.smoothed).all()


def test_frozen_weights_do_not_change_and_trained_ones_are_restored(small_fashion, place):
    config = small_config(small_fashion, **THAWED)
    context = make_context("cpu", place)
    plan = resolve(config, context)
    phase, backbone = plan.phases[-1], plan.network.backbone
    ready = prepare_phase(extract(plan, context), phase)
    frozen = torch.nn.ModuleDict({name: backbone.stages[name] for name in ("conv1", "conv2", "conv3")})
    before_frozen, before = weights(frozen), weights(ready.module)
    states = []
    watch = Watch(lambda: states.append((same(before_frozen, frozen.state_dict()), weights(ready.module))))
    groups = layer_groups(ready.trunk.stages.values(), ready.head, 1.0)
    range_test(ready.module, ready.features.train, phase.recipe, groups, Span(1e-6, 1e-3, 10), watch)
    assert len(states) == 10
    assert all(unchanged for unchanged, _ in states)
    moved = {key for key, value in states[-1][1].items() if not torch.equal(before[key], value)}
    assert moved == {key for key in before if key.endswith(("weight", "bias"))}
    assert same(before, ready.module.state_dict())


def test_data_sets_in_memory_are_tested(fashion, place):
    splits = from_arrays(np.asarray(fashion.train.images[:200]), fashion.train.labels[:200])
    config = TrainConfig(data="mine", weights="random", image_size=64, head="linear")
    test = find_lr(config, steps=10, highest=1e-3, cache_dir=place, splits=splits)
    assert len(test.rates) == 10


def test_a_loss_that_is_not_finite_before_the_first_step_has_diverged(fashion):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    torch.nn.init.constant_(module[1].weight, torch.nan)
    rows = torch.from_numpy(fashion.train.images[:40] / np.float32(255))
    recipe = Recipe(epochs=1, batch_size=20, lr=1e-3, seed=0, patience=1)
    with pytest.raises(DivergedError, match="not finite before the first step"):
        range_test(
            module, Examples(InMemory(rows), fashion.train.labels[:40]), recipe, layer_groups([], module, 1.0), Span()
        )


def test_only_cached_features_are_written(small_fashion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    find_lr(small_config(small_fashion, limit=60), steps=10, cache_dir=tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["activations"]


def test_smoothing_has_no_bias_and_forgets():
    np.testing.assert_allclose(smooth([2.0] * 30), 2.0)
    assert smooth([3.0, 1.0])[1] == pytest.approx((0.9 * 3 + 1) / 1.9)
    assert smooth([0.0] * 50 + [1.0] * 20)[-1] == pytest.approx(1 - 0.9**20, rel=0.01)


def test_the_suggestion_on_a_flat_curve_is_read_off_its_rise():
    rates = Span().rates
    noise = 0.01 * np.random.default_rng(0).standard_normal(100)
    test = read_curve(rates, list(0.6 + noise + 2 * (rates / 0.1) ** 2))
    assert test.steepest is None
    assert 1e-3 < test.suggestion < 5e-3


def test_both_suggestions_on_a_smooth_curve():
    rates = Span().rates
    losses = 2.3 - 1.5 / (1 + (1e-3 / rates) ** 2) + (rates / 0.3) ** 4
    test = read_curve(rates, list(losses))
    assert 3e-4 < test.steepest < 5e-3
    assert 5e-3 < test.suggestion < 5e-2
    assert test.suggestion == test.tenth


def test_a_loss_that_only_rises_is_refused():
    rates = Span(0.1, 1, 20).rates
    with pytest.raises(ConfigError, match=r"already rises at the lowest .* smaller --lowest"):
        read_curve(rates, list(10 * rates))


def test_a_range_that_ends_too_early_is_reported(small_fashion, place, caplog):
    with caplog.at_level("WARNING", "frostline"):
        test = find_lr(small_config(small_fashion), lowest=1e-6, highest=1e-4, steps=20, cache_dir=place)
    assert "the loss did not rise up to 0.0001: try a larger --highest" in caplog.text
    assert test.suggestion == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ((1.0, 1e-6), "--lowest 1 --highest 1e-06: expected two rates above 0, the lowest first"),
        ((0.1, 0.1), "the lowest first"),
        ((0.0, 0.1), "above 0"),
        ((float("nan"), 0.1), "above 0"),
        ((0.1, float("inf")), "above 0"),
        ((1e-6, 1.0, 9), "--steps 9: expected 10 or more"),
    ],
)
def test_impossible_spans_are_refused(span, message):
    with pytest.raises(ConfigError, match=message):
        Span(*span)


def test_a_rate_that_the_default_head_does_not_use_is_reported_first(small_fashion, place, caplog):
    default = TrainConfig(
        data="fashion-mnist", data_dir=small_fashion, weights="random", image_size=64, taps="none", limit=240
    )
    with caplog.at_level("INFO", "frostline"):
        test = find_lr(default, **WIDE, cache_dir=place)
    lines = [record.getMessage() for record in caplog.records]
    (warning,) = [line for line in lines if "closed form" in line]
    assert warning == (
        "with 216 training images, a run fits its head in closed form by default, which has no learning rate: this "
        "test is of --head linear (--head mlp tests the other one)"
    )
    assert lines.index(warning) < next(number for number, line in enumerate(lines) if "learning rates from" in line)
    assert test.moot
    linear = find_lr(default.model_copy(update={"head": "linear"}), **WIDE, cache_dir=place)
    assert not linear.moot
    np.testing.assert_array_equal(linear.losses, test.losses)


@pytest.mark.parametrize("changes", [{"head": "mlp"}, {"epochs": 4}, {"weight_decay": 0.2}, {"freeze": "conv4"}])
def test_a_rate_that_a_run_uses_is_not_moot(small_fashion, place, caplog, changes):
    config = {"weights": "random", "image_size": 64, "taps": "none", "limit": 120, **changes}
    test = find_lr(
        TrainConfig(data="fashion-mnist", data_dir=small_fashion, **config), steps=10, highest=1e-4, cache_dir=place
    )
    assert not test.moot and "closed form" not in caplog.text


def test_a_ridge_head_is_refused(small_fashion):
    with pytest.raises(ConfigError, match="--head ridge is fitted in closed form"):
        find_lr(small_config(small_fashion, head="ridge", lr=None))


def test_the_plot_shows_the_curve(tested, tmp_path):
    draw_curve(tested, "a head", tmp_path / "falling.png")
    draw_curve(read_curve(Span().rates, list(0.6 + Span().rates)), "a head", tmp_path / "flat.png")
    falling, flat = (pixels(tmp_path / f"{name}.png") for name in ("falling", "flat"))
    assert falling.shape[1] > 700
    assert min(colored(falling), colored(flat)) > 1000
    assert (falling != flat).any()

"""Fine-tuning: thawed stages change, frozen stages do not, also after resuming."""

import pytest
import torch

from frostline._utils.device import half_precision
from frostline.errors import ConfigError
from frostline.models.registry import load_backbone
from frostline.runs.bundle import load_bundle
from frostline.runs.fit import fit
from tests.small_run import InterruptTraining, small_config

ALL_AT_ONCE = {"schedule": "together", "head_epochs": None, "head_lr": None}


def changed_stages(run, seed=0):
    """The stages whose weights differ from the initial ones."""
    stages = load_bundle(run.model_folder).backbone.stages
    before = load_backbone("alexnet", "random", last=list(stages)[-1], seed=seed).stages
    return [
        name
        for name, stage in stages.items()
        if any(not torch.equal(value, before[name].state_dict()[key]) for key, value in stage.state_dict().items())
    ]


@pytest.fixture
def config(small_fashion):
    return small_config(small_fashion, freeze="conv3", limit=120, head_epochs=2, epochs=3, batch_size=32, lr=1e-4)


def test_only_the_stages_above_the_boundary_and_the_head_move(config, tmp_path, device):
    run = fit(config.model_copy(update={"device": device.type}), output_dir=tmp_path)
    assert changed_stages(run) == ["conv4", "conv5"]
    head = load_bundle(run.model_folder).head
    assert head.first.weight.abs().sum() > 0
    facts = run.metrics["model"]
    assert facts["trainable_parameters"] == 884_992 + 590_080 + 256 * 10 + 10
    assert facts["parameters"] == 2_469_696 + 256 * 10 + 10


def test_nothing_below_conv5_moves_when_it_is_the_boundary(small_fashion, tmp_path):
    run = fit(small_config(small_fashion, limit=120, epochs=1), output_dir=tmp_path)
    assert changed_stages(run) == []
    assert run.metrics["model"]["trainable_parameters"] == 2570


def test_freeze_none_trains_every_stage(small_fashion, tmp_path):
    changes = {"limit": 60, "epochs": 1, "freeze": "none", "schedule": "together", "lr": 1e-4, "seed": 5}
    run = fit(small_config(small_fashion, **changes), output_dir=tmp_path)
    assert changed_stages(run, seed=5) == ["conv1", "conv2", "conv3", "conv4", "conv5"]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "ema": 0.9, "mixup": 0.2},
        {"optimizer": "sgd", "batch_norm": True},
        {"schedule": "gradual", "taps": ("conv2", "conv5")},
        {"schedule": "together", "head_epochs": None, "views": 2, "cutmix": 1.0},
    ],
    ids=["adamw, averaged", "sgd, normalized", "gradual", "together"],
)
def test_resuming_keeps_the_boundary_and_gives_the_same_bits(config, tmp_path, changes):
    config = config.model_copy(update=changes)
    whole = fit(config, name="whole", output_dir=tmp_path)
    assert changed_stages(whole) == ["conv4", "conv5"]
    for steps in (4, 7, 10) if config.schedule != "together" else (4, 7):  # the head's phase; a thawed epoch; after one
        name = f"stopped-after-{steps}"
        with pytest.raises(KeyboardInterrupt):
            fit(config, name=name, output_dir=tmp_path, progress=InterruptTraining(steps))
        resumed = fit(config, name=name, output_dir=tmp_path, resume=True)
        assert changed_stages(resumed) == ["conv4", "conv5"]
        expected, found = (load_bundle(run.model_folder) for run in (whole, resumed))
        for part in ("backbone", "head"):
            ours, theirs = getattr(expected, part).state_dict(), getattr(found, part).state_dict()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours), steps
        assert resumed.metrics["test"] == whole.metrics["test"]
        assert [line.freeze for line in resumed.history] == [line.freeze for line in whole.history]


def test_a_resumed_run_refuses_another_boundary(config, tmp_path):
    from frostline.errors import RunError

    with pytest.raises(KeyboardInterrupt):
        fit(config, name="stopped", output_dir=tmp_path, progress=InterruptTraining(steps=4))
    other = config.model_copy(update={"freeze": "conv4"})
    with pytest.raises(RunError, match="started with freeze = 'conv3', not 'conv4'"):
        fit(other, name="stopped", output_dir=tmp_path, resume=True)


def frozen_at(run):
    return [line.freeze for line in run.history]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("head-first", ["conv5"] * 2 + ["conv2"] * 3),
        ("gradual", ["conv5"] * 2 + ["conv4", "conv3", "conv2"]),
        ("together", ["conv2"] * 3),
    ],
)
def test_stages_thaw_in_the_requested_order(config, tmp_path, schedule, expected):
    changes = {"freeze": "conv2", "schedule": schedule} | ({"head_epochs": None} if schedule == "together" else {})
    run = fit(config.model_copy(update=changes), output_dir=tmp_path)
    assert frozen_at(run) == expected
    assert [line.epoch for line in run.history] == list(range(1, len(expected) + 1))
    # Of equal validation accuracies the earlier epoch may be the best: then what was thawed later is as it was.
    assert changed_stages(run) in (["conv3", "conv4", "conv5"], ["conv4", "conv5"], ["conv5"], [])


def test_thawing_begins_with_the_head_that_was_trained(small_fashion, tmp_path):
    slow = small_config(small_fashion, freeze="conv4", limit=240, head_epochs=6, head_lr=0.01, epochs=1, lr=1e-7)
    run = fit(slow, output_dir=tmp_path)
    head, thawed = run.history[-2], run.history[-1]
    assert thawed.val_accuracy == pytest.approx(head.val_accuracy, abs=0.05)
    assert thawed.val_loss == pytest.approx(head.val_loss, rel=0.05)
    fresh = fit(slow.model_copy(update=ALL_AT_ONCE), output_dir=tmp_path)
    assert fresh.history[-1].val_loss > 2 * head.val_loss


def test_the_best_epoch_may_be_one_before_thawing(small_fashion, tmp_path):
    wild = small_config(small_fashion, freeze="conv4", head_epochs=6, head_lr=0.01, epochs=2, lr=0.3, clip_norm=0.0)
    run = fit(wild, output_dir=tmp_path)
    assert run.metrics["training"]["best_epoch"] <= 6
    assert changed_stages(run) == []
    best = run.history[run.metrics["training"]["best_epoch"] - 1]
    assert run.metrics["val"]["accuracy"] == pytest.approx(best.val_accuracy)


def test_thawed_stages_train_for_all_epochs_unless_patience_is_set(small_fashion, tmp_path):
    changes = {"freeze": "conv4", "limit": 120, "head_epochs": 1, "epochs": 8, "lr": 0.3, "clip_norm": 0.0}
    config = small_config(small_fashion, **changes)
    assert len(fit(config, output_dir=tmp_path).history) == 1 + 8
    assert len(fit(config.model_copy(update={"patience": 2}), output_dir=tmp_path).history) < 1 + 8


def test_middle_boundary_is_cached_with_the_taps_below_it(small_fashion, tmp_path):
    config = small_config(small_fashion, taps="auto", freeze="conv3", limit=120, head_epochs=1, epochs=1, lr=1e-4)
    first = fit(config, output_dir=tmp_path)
    assert first.metrics["frozen_pass"]["from_cache"] == 0
    assert first.metrics["model"]["taps"] == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    again = fit(config.model_copy(update={"lr": 2e-4}), output_dir=tmp_path)
    facts = again.metrics["frozen_pass"]
    assert facts["from_cache"] == facts["images"] == 2 * 120 + 20  # the test split's rows are needed once


def test_whole_network_training_uses_a_new_view_in_every_epoch(small_fashion, tmp_path):
    config = small_config(small_fashion, limit=60, freeze="none", epochs=3, head_epochs=1, lr=1e-4)
    run = fit(config, output_dir=tmp_path)
    assert run.config.views == 3
    plain = fit(config.model_copy(update={"views": 1}), output_dir=tmp_path)
    losses = [[line.train_loss for line in found.history] for found in (run, plain)]
    assert losses[0][:2] == losses[1][:2] and losses[0][2] != losses[1][2]


def test_16_bit_training_is_used_where_it_is_quick(config, tmp_path, device):
    config = config.model_copy(update={"device": device.type})
    plain, half = (fit(config.model_copy(update={"amp": amp}), output_dir=tmp_path) for amp in (False, True))
    moved = [changed_stages(run) for run in (plain, half)]
    same = plain.history[-1].train_loss == half.history[-1].train_loss
    told = "--amp has no effect" in (half.folder / "log.txt").read_text()
    assert same == told == (half_precision(device) is None)
    assert moved[0] == moved[1] == ["conv4", "conv5"]
    assert half.history[-1].train_loss == pytest.approx(plain.history[-1].train_loss, rel=0.02)
    assert load_bundle(half.model_folder).backbone.stages["conv5"][0].weight.dtype == torch.float32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, when its compiler is imported
def test_a_compiled_step_trains_the_same(config, tmp_path, monkeypatch):
    config = config.model_copy(update={"schedule": "together", "head_epochs": None, "epochs": 1})
    plain = fit(config, output_dir=tmp_path)
    compiled = fit(config.model_copy(update={"compile": True}), output_dir=tmp_path)
    assert compiled.history[0].train_loss == pytest.approx(plain.history[0].train_loss, rel=1e-3)
    assert changed_stages(compiled) == ["conv4", "conv5"]
    monkeypatch.setenv("PATH", str(tmp_path))  # no compiler there
    with pytest.raises(ConfigError, match="--compile needs a C\\+\\+ compiler"):
        fit(config.model_copy(update={"compile": True}), output_dir=tmp_path / "more")


def test_batch_normalization_while_learning_leaves_a_plain_network(config, tmp_path):
    run = fit(config.model_copy(update={"batch_norm": True, "ema": 0.5}), output_dir=tmp_path)
    assert changed_stages(run) == ["conv4", "conv5"]
    assert list(load_bundle(run.model_folder).backbone.state_dict()) == list(load_backbone().state_dict())
    best = run.history[run.metrics["training"]["best_epoch"] - 1]
    assert run.metrics["val"]["accuracy"] == pytest.approx(best.val_accuracy)
    assert run.metrics["model"]["parameters"] == 2_469_696 + 256 * 10 + 10


@pytest.mark.parametrize("freeze", ["conv5", "fc6"])
def test_batch_normalization_needs_a_thawed_convolution(config, tmp_path, freeze):
    with pytest.raises(ConfigError, match=f"--batch-norm applies to thawed .* --freeze {freeze} alexnet has none"):
        fit(config.model_copy(update=ALL_AT_ONCE | {"batch_norm": True, "freeze": freeze}), output_dir=tmp_path)

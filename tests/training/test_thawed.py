"""Fine-tuning: what is thawed moves, what is frozen keeps every bit, also after a stop."""

import pytest
import torch

from frostline.networks.registry import load_backbone
from frostline.runs.bundle import load_bundle
from frostline.runs.fit import fit
from tests.small_run import InterruptTraining, small_config


def changed_stages(run, seed=0):
    """The stages whose weights differ from the ones training began with."""
    stages = load_bundle(run.model_folder).backbone.stages
    before = load_backbone("alexnet", "random", last=list(stages)[-1], seed=seed).stages
    return [
        name
        for name, stage in stages.items()
        if any(not torch.equal(value, before[name].state_dict()[key]) for key, value in stage.state_dict().items())
    ]


@pytest.fixture
def config(small_fashion):
    return small_config(small_fashion, freeze="conv3", limit=120, epochs=3, batch_size=32, lr=1e-4)


def test_only_the_stages_above_the_boundary_and_the_head_move(config, tmp_path):
    run = fit(config, output_dir=tmp_path)
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
    run = fit(small_config(small_fashion, limit=60, epochs=1, freeze="none", lr=1e-4, seed=5), output_dir=tmp_path)
    assert changed_stages(run, seed=5) == ["conv1", "conv2", "conv3", "conv4", "conv5"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resuming_keeps_the_boundary_and_gives_the_same_bits(config, tmp_path, optimizer):
    config = config.model_copy(update={"optimizer": optimizer})
    whole = fit(config, name="whole", output_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(config, name="stopped", output_dir=tmp_path, progress=InterruptTraining(steps=7))
    resumed = fit(config, name="stopped", output_dir=tmp_path, resume=True)
    assert changed_stages(resumed) == ["conv4", "conv5"]
    expected, found = (load_bundle(run.model_folder) for run in (whole, resumed))
    for part in ("backbone", "head"):
        ours, theirs = getattr(expected, part).state_dict(), getattr(found, part).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert resumed.metrics["test"] == whole.metrics["test"]
    assert len(resumed.history) == 3


def test_a_resumed_run_refuses_another_boundary(config, tmp_path):
    from frostline.errors import RunError

    with pytest.raises(KeyboardInterrupt):
        fit(config, name="stopped", output_dir=tmp_path, progress=InterruptTraining(steps=4))
    other = config.model_copy(update={"freeze": "conv5"})
    with pytest.raises(RunError, match="begun with freeze = 'conv3', now 'conv5' is asked for"):
        fit(other, name="stopped", output_dir=tmp_path, resume=True)

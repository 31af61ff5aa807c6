"""The pre-training run."""

import signal
import time
from dataclasses import replace

import pytest
import torch

from frostline.errors import RunError
from frostline.models.alexnet import BUNDLED
from frostline.models.registry import load_backbone
from frostline.models.weights import read_record, read_state
from frostline.synthetic.scene import Program
from tests.commands import PROCESSES
from tools.pretraining.network import Pretraining
from tools.pretraining.recipe import Budget, Phase, Recipe
from tools.pretraining.train import _Run, pretrain

CPU = torch.device("cpu")
RECIPE = Recipe(
    program=Program(classes=20, textures=8), phases=(Phase(0.0, 64),), batch_size=32, warm_up=4, probe_per_class=12
)
BUDGET = Budget(images=32 * 12)


def train_until_killed(path):
    """Run in a separate process."""
    pretrain(RECIPE, BUDGET, path, device=CPU, checkpoint_seconds=0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file of an uninterrupted run."""
    path = tmp_path_factory.mktemp("pretrain") / "whole.safetensors"
    pretrain(RECIPE, BUDGET, path, device=CPU)
    return path


def test_a_run_leaves_weights_and_their_record(whole):
    record = read_record(whole)
    assert record["images"] == 384
    assert record["recipe"]["program"]["classes"] == 20
    assert record["device"].startswith("cpu")
    (line,) = record["history"]
    assert line["images"] == 384 and line["size"] == 64
    assert 0 <= line["object_accuracy"] <= 1 and 0 < line["sketch_error"] < 2 and 0.1 < line["held_out_accuracy"] < 1
    assert not whole.with_name("whole.safetensors.unfinished").exists()


def test_the_first_layer_has_learned(whole):
    torch.manual_seed(RECIPE.program.seed)
    before = Pretraining(20, 8, RECIPE.texture_stage, RECIPE.sketch_stages).stages["conv1"].convolution.weight
    after = read_state(whole)["features.0.weight"].float()
    cosine = torch.nn.functional.cosine_similarity(before.flatten(1), after.flatten(1))
    assert (cosine < 0.9999).all()
    assert cosine.mean() > 0.5  # a short run: still the same network


def test_killed_and_resumed_is_as_if_nothing_had_happened(whole, tmp_path):
    path = tmp_path / "killed.safetensors"
    unfinished = tmp_path / "killed.safetensors.unfinished"
    process = PROCESSES.Process(target=train_until_killed, args=(path,))
    process.start()
    while process.is_alive() and not unfinished.exists():
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert unfinished.exists() and not path.exists()
    with pytest.raises(
        RunError, match="unfinished exists: choose another --output, --resume to continue it, or --overwrite"
    ):
        pretrain(RECIPE, BUDGET, path, device=CPU)
    with pytest.raises(RunError, match=r"was started with lr = .*, not 0\.001: use the same value to resume"):
        pretrain(replace(RECIPE, lr=1e-3), BUDGET, path, device=CPU, resume=True)
    pretrain(RECIPE, BUDGET, path, device=CPU, resume=True)
    expected, found = read_state(whole), read_state(path)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert not unfinished.exists()


def test_starting_from_weights_preserves_their_features(whole, tmp_path):
    path = tmp_path / "further.safetensors"
    start = load_backbone(weights="bundled")
    gentle = replace(RECIPE, lr=1e-4)
    pretrain(gentle, BUDGET, path, device=CPU, start=start)
    record = read_record(path)
    assert record["start"] == start.origin.sha256
    assert read_record(whole)["start"] is None
    before, after = read_state(BUNDLED)["features.6.weight"].float(), read_state(path)["features.6.weight"].float()
    cosine = torch.nn.functional.cosine_similarity(before.flatten(1), after.flatten(1))
    assert cosine.mean() > 0.9 and not torch.equal(before, after)
    assert record["history"][-1]["held_out_accuracy"] > read_record(whole)["history"][-1]["held_out_accuracy"] + 0.1


def test_going_on_needs_the_weights_that_it_was_begun_with(tmp_path):
    path = tmp_path / "mine.safetensors"
    _Run(RECIPE, BUDGET, CPU, load_backbone(weights="bundled")).write(path.with_name("mine.safetensors.unfinished"))
    with pytest.raises(RunError, match=r"was started with start = '.*', not None"):
        pretrain(RECIPE, BUDGET, path, device=CPU, resume=True)


def test_finished_weights_are_overwritten_only_on_request(whole):
    before = whole.read_bytes()
    with pytest.raises(RunError, match="exists: choose another --output, or --overwrite to replace it"):
        pretrain(RECIPE, BUDGET, whole, device=CPU)
    assert whole.read_bytes() == before


def test_a_damaged_state_is_rejected(tmp_path):
    (tmp_path / "mine.safetensors.unfinished").write_bytes(b"cut short")
    with pytest.raises(RunError, match=r"damaged .*: --overwrite starts over"):
        pretrain(RECIPE, BUDGET, tmp_path / "mine.safetensors", device=CPU, resume=True)

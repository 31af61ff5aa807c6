"""Checkpoints: resuming a training, and errors for damaged or foreign files."""

import json
import os
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from frostline._utils.files import read_tensors
from frostline._utils.hashing import digest_arrays
from frostline.errors import RunError
from frostline.training.checkpoint import saved_phase
from frostline.training.trainer import Phase, train

CASES = {
    "adamw linear": {"kind": "linear", "optimizer": "adamw"},
    "sgd linear": {"kind": "linear", "optimizer": "sgd"},
    "sgd without momentum": {"kind": "linear", "optimizer": "sgd", "momentum": 0.0},
    "adamw mlp with dropout": {"kind": "mlp", "optimizer": "adamw"},
    "sgd mlp with dropout": {"kind": "mlp", "optimizer": "sgd"},
}


def interrupt_after(epochs):
    def stop(history):
        if len(history) == epochs:
            raise KeyboardInterrupt

    return stop


def without_times(trained):
    return [{key: value for key, value in asdict(line).items() if key != "seconds"} for line in trained.history]


@pytest.mark.parametrize("stops", [(1,), (2, 4), (5,)])
@pytest.mark.parametrize("case", CASES)
def test_resuming_gives_the_same_bits(narrow, make_head, make_recipe, tmp_path, case, stops):
    settings = dict(CASES[case])
    kind = settings.pop("kind")
    recipe = make_recipe(lr=0.01, **settings)
    whole_head, stopped_head = make_head(narrow[0], kind), make_head(narrow[0], kind)
    whole = train(whole_head, *narrow, recipe)
    checkpoint = tmp_path / "checkpoint.safetensors"
    for epoch in stops:
        with pytest.raises(KeyboardInterrupt):
            train(stopped_head, *narrow, recipe, checkpoint=checkpoint, on_epoch=interrupt_after(epoch))
        stopped_head = make_head(narrow[0], kind, seed=99)  # nothing but the file carries over
    resumed = train(stopped_head, *narrow, recipe, checkpoint=checkpoint)
    assert without_times(resumed) == without_times(whole)
    assert resumed.best_epoch == whole.best_epoch
    expected, found = whole_head.state_dict(), stopped_head.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_checkpoint_of_another_run_is_rejected(narrow, make_head, make_recipe, tmp_path):
    checkpoint, head = tmp_path / "checkpoint.safetensors", make_head(narrow[0])
    train(head, *narrow, make_recipe(epochs=1), phase=Phase(run="one"), checkpoint=checkpoint)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors belongs to another run: remove it"):
        train(head, *narrow, make_recipe(), phase=Phase(run="other"), checkpoint=checkpoint)
    assert len(train(head, *narrow, make_recipe(), phase=Phase(run="one"), checkpoint=checkpoint).history) > 1


def test_restored_history_is_reported_with_its_times(narrow, make_head, make_recipe, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    head = make_head(narrow[0])
    first = []
    with pytest.raises(KeyboardInterrupt):
        train(
            head,
            *narrow,
            make_recipe(),
            checkpoint=checkpoint,
            on_epoch=lambda history: (first.append(list(history)), interrupt_after(3)(history)),
        )
    reported = []
    train(
        head,
        *narrow,
        make_recipe(),
        checkpoint=checkpoint,
        on_epoch=lambda history: reported.append(list(history)),
    )
    assert [len(history) for history in reported] == [3, 4, 5]
    assert reported[0] == first[-1]


def test_a_training_that_had_stopped_early_stays_stopped(narrow, make_head, make_recipe, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    recipe = make_recipe(lr=0.1, lr_schedule="constant", epochs=60, patience=2)
    whole = train(make_head(narrow[0]), *narrow, recipe, checkpoint=checkpoint)
    again = train(make_head(narrow[0]), *narrow, recipe, checkpoint=checkpoint)
    assert again.history == whole.history


def test_no_other_file_is_left_beside_the_checkpoint(narrow, make_head, make_recipe, tmp_path):
    train(make_head(narrow[0]), *narrow, make_recipe(epochs=2), checkpoint=tmp_path / "checkpoint.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.fixture
def checkpoint(narrow, make_head, make_recipe, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(make_head(narrow[0]), *narrow, make_recipe(epochs=1), checkpoint=path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_cut_checkpoint_is_rejected(narrow, make_head, make_recipe, checkpoint, share):
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RunError, match=r"checkpoint\.safetensors is damaged .*: remove it"):
        train(make_head(narrow[0]), *narrow, make_recipe(), checkpoint=checkpoint)


@pytest.mark.parametrize("other", ["head", "width", "features", "optimiser"])
def test_a_checkpoint_of_another_training_is_rejected(narrow, wide, make_head, make_recipe, tmp_path, other):
    path = tmp_path / "checkpoint.safetensors"
    train(make_head(narrow[0], "mlp"), *narrow, make_recipe(epochs=1), checkpoint=path)
    parts = wide if other == "features" else narrow
    head = make_head(parts[0], "linear" if other == "head" else "mlp", width=32 if other == "width" else 64)
    recipe = make_recipe(optimizer="sgd" if other == "optimiser" else "adamw")
    with pytest.raises(RunError, match="is not a checkpoint of this model"):
        train(head, *parts, recipe, checkpoint=path)


@pytest.mark.parametrize("metadata", [None, {"training": "{"}, {"training": "[]"}, {"training": "{}"}, {"other": "1"}])
def test_a_foreign_safetensors_file_is_rejected(narrow, make_head, make_recipe, tmp_path, metadata):
    path = tmp_path / "checkpoint.safetensors"
    head = make_head(narrow[0])
    save_file({f"module.{key}": value for key, value in head.state_dict().items()}, path, metadata)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors is damaged"):
        train(head, *narrow, make_recipe(), checkpoint=path)


def rewrite(path, change):
    """Change a checkpoint's metadata without updating its digest."""
    tensors, metadata = read_tensors(path)
    save_file(tensors, path, change(metadata))


ABOUT = {
    "rate": lambda about: about["groups"][0].update(lr=9.0),
    "history": lambda about: about["history"][0].update(val_accuracy=1.0),
    "phase": lambda about: about.update(phase=3),
}


@pytest.mark.parametrize("change", ABOUT)
def test_settings_that_were_changed_are_rejected(narrow, make_head, make_recipe, checkpoint, change):
    def changed(metadata):
        about = json.loads(metadata["about"])
        ABOUT[change](about)
        return metadata | {"about": json.dumps(about)}

    rewrite(checkpoint, changed)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors is damaged \(its checksum is wrong\): remove it"):
        train(make_head(narrow[0]), *narrow, make_recipe(), checkpoint=checkpoint)


@pytest.mark.parametrize("missing", ["phase", "history", "best_epoch", "groups"])
def test_settings_that_are_not_there_are_rejected(narrow, make_head, make_recipe, checkpoint, missing):
    def without(metadata):
        about = json.loads(metadata["about"])
        del about[missing]
        tensors, _ = read_tensors(checkpoint)
        digest = digest_arrays((name, tensors[name].numpy()) for name in sorted(tensors))
        return {"about": json.dumps(about), "digest": digest}  # as earlier versions wrote it

    rewrite(checkpoint, without)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors is (damaged|not a checkpoint)"):
        train(make_head(narrow[0]), *narrow, make_recipe(), checkpoint=checkpoint)


def test_checkpoint_of_an_earlier_version_is_gone_on_with(narrow, make_head, make_recipe, checkpoint):
    def earlier(metadata):
        tensors, _ = read_tensors(checkpoint)
        digest = digest_arrays((name, tensors[name].numpy()) for name in sorted(tensors))
        return {"about": metadata["about"], "digest": digest}

    rewrite(checkpoint, earlier)
    assert len(train(make_head(narrow[0]), *narrow, make_recipe(epochs=2), checkpoint=checkpoint).history) == 2


@pytest.mark.parametrize("kind", ["pipe", "folder", "damaged"])
def test_phase_of_a_damaged_checkpoint_is_not_guessed(tmp_path, kind):
    path = tmp_path / "checkpoint.safetensors"
    assert saved_phase(path) == saved_phase(None) == 0
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"checkpoint\.safetensors (is damaged|cannot be read)"):
        saved_phase(path)

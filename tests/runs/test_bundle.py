"""The deployable model: the same probabilities after a round trip, no pickle, and damage that is seen."""

import json
import shutil

import numpy as np
import pytest

from frostline.errors import RunError
from frostline.runs.bundle import load_bundle, save_bundle
from frostline.runs.predict import Classifier


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished run's model, to be damaged."""
    return shutil.copytree(finished.model_folder, tmp_path / "model")


def test_a_round_trip_gives_the_same_bits(finished, fashion, tmp_path):
    model = load_bundle(finished.model_folder)
    save_bundle(model, tmp_path / "again")
    again = load_bundle(tmp_path / "again")
    images = fashion.test.images[:50]
    assert np.array_equal(Classifier(model).predict_proba(images), Classifier(again).predict_proba(images))
    assert (again.class_names, again.preprocess, again.boundary) == (
        model.class_names,
        model.preprocess,
        model.boundary,
    )
    assert again.backbone.origin == model.backbone.origin
    assert again.temperature == model.temperature == finished.metrics["calibration"]["temperature"]


def test_a_bundle_works_alone(folder, finished, fashion):
    moved = Classifier.load(folder).predict_proba(fashion.test.images[:20])
    assert np.array_equal(moved, Classifier.load(finished.folder).predict_proba(fashion.test.images[:20]))


def test_it_says_everything_that_prediction_needs(folder):
    about = json.loads((folder / "model.json").read_text())
    assert about["network"] == "alexnet"
    assert about["boundary"]["freeze"] == "conv5"
    assert about["preprocess"]["image_size"] == 64
    assert about["preprocess"]["mean"] == [0.485, 0.456, 0.406]
    assert about["class_names"][0] == "T-shirt/top"
    assert about["head"] == {"kind": "linear", "features": 256, "classes": 10, "hidden_width": 512, "dropout": 0.5}
    assert about["weights"]["name"] == "random"


def test_no_file_is_a_pickle(finished):
    files = [path for path in finished.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".toml", ".csv", ".json", ".md", ".png", ".txt", ".safetensors", ""}
    for path in files:
        head = path.read_bytes()[:9]
        assert head[:2] != b"PK"  # torch.save writes a zip of pickles
        assert path.suffix != ".safetensors" or head[8:] == b"{"
        assert head[:1] != b"\x80" or path.suffix == ".safetensors"


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(RunError, match="holds no model: the run is not finished, or this is no run folder"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_file_is_seen(folder, name, share):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RunError, match="is damaged"):
        load_bundle(folder)


def test_a_flipped_bit_in_the_weights_is_seen(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(RunError, match="is damaged"):
        load_bundle(folder)


KEYS = [
    "format",
    "network",
    "boundary",
    "preprocess",
    "head",
    "class_names",
    "temperature",
    "mirror",
    "weights",
    "blake2b",
]


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_entry_is_seen(folder, key):
    about = json.loads((folder / "model.json").read_text())
    del about[key]
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=f"is damaged.*{key}"):
        load_bundle(folder)


@pytest.mark.parametrize("value", [None, 7, "text", [], {}])
@pytest.mark.parametrize("key", ["network", "boundary", "preprocess", "head", "class_names", "mirror"])
def test_an_entry_of_another_kind_is_seen(folder, key, value):
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**about, key: value}))
    with pytest.raises(RunError, match="is damaged"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["[]", "null", "7", '"x"', "\udcff"])
def test_json_that_is_no_model_is_seen(folder, text):
    (folder / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match="is damaged"):
        load_bundle(folder)


def test_a_bundle_of_a_later_version_is_named(folder):
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(RunError, match=r"bundle format 99, this version reads \d"):
        load_bundle(folder)


def test_another_tap_grid_is_named(folder):
    about = json.loads((folder / "model.json").read_text())
    about["boundary"]["tap_grid"] += 1
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match="another tap grid"):
        load_bundle(folder)


def test_the_weights_of_another_bundle_are_seen(folder, finished, tmp_path):
    about = json.loads((folder / "model.json").read_text())
    about["boundary"].update(freeze="conv4", end="conv4")
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match="is damaged"):
        load_bundle(folder)

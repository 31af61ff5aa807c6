"""The deployable model: the same probabilities after a round trip, no pickle, and damage that is seen."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from frostline._utils.hashing import digest_file
from frostline._utils.manifest import MANIFEST
from frostline.errors import RunError
from frostline.inference.classifier import Classifier
from frostline.runs.bundle import load_bundle, save_bundle, seal_bundle


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
    with pytest.raises(RunError, match="contains no model: the run is not finished, or this is not a run folder"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "manifest.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_file_is_seen(folder, name, share):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RunError, match=f"{name} is "):
        load_bundle(folder)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_flipped_bit_in_the_weights_is_seen(folder, sealed):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    if not sealed:
        (folder / MANIFEST).unlink()
    with pytest.raises(RunError, match=r"model\.safetensors is "):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(folder, name, kind):
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to("/dev/zero")
    begun = time.monotonic()
    with pytest.raises(RunError, match=f"{name} cannot be read"):
        load_bundle(folder)
    assert time.monotonic() - begun < 5


def read(folder):
    return json.loads((folder / "model.json").read_text())


def write(folder, about, *, sealed=True):
    """Write another description; sealed, it is what Frostline would have written."""
    (folder / "model.json").write_text(json.dumps(about))
    if sealed:
        seal_bundle(folder)
    else:
        (folder / MANIFEST).unlink(missing_ok=True)


def put(about, place, value):
    *path, last = place.split(".")
    for name in path:
        about = about[int(name) if isinstance(about, list) else name]
    about[int(last) if isinstance(about, list) else last] = value


def test_changed_numbers_and_names_are_refused(folder):
    """The examples that once answered wrongly with high confidence."""
    about = read(folder)
    for change in (
        {"preprocess": {**about["preprocess"], "mean": [8.485, 0.456, 0.406]}},
        {"class_names": [about["class_names"][1], about["class_names"][0], *about["class_names"][2:]]},
    ):
        (folder / "model.json").write_text(json.dumps(about | change))
        with pytest.raises(RunError, match=r"model\.json is not the file that Frostline wrote"):
            load_bundle(folder)


IMPOSSIBLE = {
    "preprocess.mean.0": (8.485, -0.1, None, "0.485", True, 1e999),
    "preprocess.std.1": (0, -1, 25.5, None, "x"),
    "preprocess.image_size": (0, -64, 10**9, 64.5, "64", None, True),
    "preprocess.resize": ("nearest, antialiased", "bilinear", "", None, 3),
    "preprocess.crop": ("none",),
    "preprocess.version": (1, "2", None),
    "class_names.0": ("", 7, None, "Trouser"),
    "class_names": ([], "abc", None, ["a", "b"]),
    "boundary.freeze": ("conv9", "", 5, None),
    "boundary.end": ("conv3", "conv9", None),
    "boundary.taps": (["conv9"], "conv1", [1], ["conv5", "conv1"]),
    "head.kind": ("forest", None),
    "head.features": (0, -1, 10**12, 255, "256", True),
    "head.classes": (0, 9, 11, 2.5),
    "head.hidden_width": (0, 10**9),
    "head.dropout": (1, -0.5, "x"),
    "head.depth": (2,),
    "temperature": (0, -1, "warm", 1e999),
    "mirror": (0, 1, "yes", None),
    "network": ("", "alexnot", 5, None),
    "weights.sha256": ("abc", None),
    "weights": ("random", {}),
    "blake2b": ("0" * 32, "", None),
    "format": ("2", None, 2.5),
    "later": (1,),
}


@pytest.mark.parametrize(
    ("place", "sealed"), [*((place, True) for place in IMPOSSIBLE), ("preprocess.mean.0", False), ("head.kind", False)]
)
def test_values_that_cannot_be_are_refused(folder, place, sealed):
    whole = (folder / "model.json").read_text()
    for value in IMPOSSIBLE[place]:
        about = json.loads(whole)
        put(about, place, value)
        write(folder, about, sealed=sealed)
        with pytest.raises(RunError, match=r"model\.(json|safetensors) is damaged"):
            load_bundle(folder)


@pytest.mark.parametrize("key", ["format", "network", "boundary", "preprocess", "head", "class_names", "temperature",
                                 "mirror", "weights", "blake2b"])  # fmt: skip
def test_a_missing_entry_is_seen(folder, key):
    about = read(folder)
    del about[key]
    write(folder, about)
    with pytest.raises(RunError, match=rf"model\.json is damaged \({key}"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["[]", "null", "7", '"x"', "\udcff", "[" * 100_000, '{"format": NaN}'])
def test_json_that_is_no_model_is_seen(folder, text):
    (folder / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    seal_bundle(folder)
    with pytest.raises(RunError, match=r"model\.json is damaged"):
        load_bundle(folder)


def test_a_bundle_of_a_later_version_is_named(folder):
    write(folder, {**read(folder), "format": 99})
    with pytest.raises(RunError, match=r"bundle format 99, this version reads \d"):
        load_bundle(folder)


def test_the_description_is_checked_before_the_tensors(folder):
    (folder / "model.safetensors").write_bytes(b"")
    write(folder, {**read(folder), "mirror": 7}, sealed=False)
    with pytest.raises(RunError, match=r"model\.json is damaged \(mirror"):
        load_bundle(folder)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    "levels", ["x", 7, [1], {"whole": 3}, {"whole": [1, 2, 3]}, {"real": [2, 1]}, {"real": ["0", "1"]}, {"x": 1}]
)
def test_levels_that_cannot_be_are_refused(folder, levels, sealed):
    about = read(folder)
    about["preprocess"]["levels"] = levels
    write(folder, about, sealed=sealed)
    with pytest.raises(RunError, match=r"model\.json is damaged \(preprocess"):
        load_bundle(folder)


@pytest.mark.parametrize("place", ["data.preprocess.Preprocess.from_dict", "runs.bundle.Head.__init__"])
def test_a_defect_in_the_code_is_not_called_damage(folder, monkeypatch, place):
    def defect(*arguments):
        raise TypeError("a defect")

    monkeypatch.setattr(f"frostline.{place}", defect)
    with pytest.raises(TypeError, match="a defect"):
        load_bundle(folder)


def test_another_tap_grid_is_named(folder):
    about = read(folder)
    about["boundary"]["tap_grid"] += 1
    write(folder, about)
    with pytest.raises(RunError, match="another tap grid"):
        load_bundle(folder)


def swap(tensors, name, value):
    return {**tensors, name: value}


TENSORS = {
    "one is missing": lambda tensors: {key: value for key, value in tensors.items() if key != "head.mean"},
    "one too many": lambda tensors: swap(tensors, "head.extra", torch.zeros(1)),
    "another shape": lambda tensors: swap(tensors, "head.first.bias", torch.zeros(11)),
    "another type": lambda tensors: swap(tensors, "head.first.bias", torch.zeros(10, dtype=torch.float16)),
    "not a number": lambda tensors: swap(tensors, "stages.conv1.0.bias", torch.full((64,), float("nan"))),
}


@pytest.mark.parametrize("change", TENSORS)
def test_tensors_that_do_not_fit_are_refused(folder, change):
    save_file(TENSORS[change](load_file(folder / "model.safetensors")), folder / "model.safetensors")
    write(folder, {**read(folder), "blake2b": digest_file(folder / "model.safetensors")})
    with pytest.raises(RunError, match=r"model\.safetensors is damaged \('(head|stages)"):
        load_bundle(folder)


def test_header_that_claims_too_much_is_refused(folder):
    (folder / "model.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    write(folder, {**read(folder), "blake2b": digest_file(folder / "model.safetensors")})
    with pytest.raises(RunError, match=r"model\.safetensors is damaged \(its header claims"):
        load_bundle(folder)


def test_bundle_of_another_run_is_noticed(finished, tmp_path):
    run = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    write(run / "model", {**read(run / "model"), "mirror": False})  # whole in itself
    for place in (run, run / "model"):
        with pytest.raises(RunError, match=r"model/manifest\.json is not the file that Frostline wrote"):
            load_bundle(place)
    (run / "model" / MANIFEST).unlink()
    with pytest.raises(RunError, match=r"there is no .*model/manifest\.json"):
        load_bundle(run)


def test_bundle_of_an_earlier_version_is_loaded_with_a_warning(folder, finished, caplog):
    (folder / MANIFEST).unlink()
    assert load_bundle(folder).class_names == load_bundle(finished.folder).class_names
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"{folder} has no manifest.json (an earlier version made it): its files were not verified"


@pytest.mark.parametrize("size", [8, 20])
def test_image_size_that_the_network_cannot_take_is_refused_without_a_manifest(folder, size):
    about = read(folder)
    about["preprocess"]["image_size"] = size
    write(folder, about, sealed=False)
    with pytest.raises(RunError, match=r"model\.json is damaged \(--image-size"):
        load_bundle(folder)


def test_model_is_not_saved_over_the_files_of_others(finished, tmp_path):
    (tmp_path / "model.json").write_text("mine")
    with pytest.raises(RunError, match="exists and is not a bundle"):
        save_bundle(load_bundle(finished.folder), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]

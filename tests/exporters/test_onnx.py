"""The ``.onnx`` file by itself, in real onnxruntime: real images of several sizes, gray and colored."""

import hashlib
import json
import os

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from frostline.errors import DataError, RunError
from frostline.exporters.formats import add_metadata
from frostline.inference.onnx import OnnxClassifier
from tests.class_folders import write_classes

LIMIT = 1e-4


def resized(images, width, height, mode):
    changed = [Image.fromarray(np.asarray(image)).resize((width, height)).convert(mode) for image in images]
    pixels = np.stack([np.asarray(one) for one in changed])
    if mode == "RGB":
        pixels[..., 1] = 255 - pixels[..., 1]
    return pixels


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("width", "height", "count"),
    [(28, 28, 1), (28, 28, 33), (64, 64, 2), (31, 90, 3), (129, 127, 2), (700, 517, 1), (1, 3, 2)],
)
def test_it_gives_what_predict_gives(onnx_classifier, classifier, fashion, width, height, count, mode):
    images = list(resized(fashion.test.images[:count], width, height, mode))
    found, expected = onnx_classifier.predict_proba(images), classifier.predict_proba(images)
    assert (found.shape, found.dtype) == ((count, 10), np.float32)
    assert np.abs(found - expected).max() <= LIMIT
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert onnx_classifier.predict(images).tolist() == classifier.predict(images).tolist()


def test_files_pixels_and_sizes_go_together(onnx_classifier, classifier, fashion, tmp_path):
    write_classes(tmp_path, fashion.train)
    given = [*sorted(tmp_path.rglob("*.[pj][np]g"))[:12], np.asarray(fashion.test.images[0])]
    assert np.abs(onnx_classifier.predict_proba(given) - classifier.predict_proba(given)).max() <= LIMIT
    assert onnx_classifier.predict_proba([]).shape == (0, 10)


def test_inputs_and_outputs_are_what_they_are_called(content):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == (
        "images",
        "tensor(uint8)",
        ["batch", "height", "width", "channels"],
    )
    assert [(output.name, output.type) for output in session.get_outputs()] == [
        ("probabilities", "tensor(float)"),
        ("class_ids", "tensor(int64)"),
    ]
    probabilities, ids = session.run(None, {"images": np.full((2, 40, 30, 3), 200, np.uint8)})
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert ids.tolist() == probabilities.argmax(1).tolist()


def test_images_with_transparency_are_refused_not_misread(content):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match=r"out of data bounds|out of bounds"):
        session.run(None, {"images": np.zeros((1, 40, 40, 4), np.uint8)})


def test_the_metadata_say_classes_and_origin(content, finished, onnx_classifier):
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model)
    (entry,) = model.metadata_props
    about = json.loads(entry.value)
    assert (entry.key, about) == ("frostline", onnx_classifier.about)
    assert tuple(about["class_names"]) == finished_names(finished)
    assert (about["run"], about["data"], about["network"], about["freeze"]) == (
        "first",
        "fashion-mnist",
        "alexnet",
        "conv5",
    )
    assert about["weights"] == finished.metrics["weights"]
    assert about["test"]["accuracy"] == finished.metrics["test"]["accuracy"]
    assert about["image_size"] == 64
    assert (model.producer_name, about["quantized"]) == ("frostline", None)
    assert b"/export/" not in content  # no path of the machine that wrote it


def finished_names(run):
    return tuple(run.metrics["test"]["per_class"])


def test_what_is_no_image_is_refused(onnx_classifier, tmp_path):
    with pytest.raises(DataError, match="expected a uint8 array"):
        onnx_classifier.predict_proba(np.zeros((2, 8, 8), np.float32))
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match="is not a readable image"):
        onnx_classifier.predict_proba([tmp_path / "a.png"])


def test_what_is_no_model_of_ours_is_refused(content, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(RunError, match=r"there is no .*model\.onnx"):
        OnnxClassifier(path)
    path.write_bytes(content[:5000])
    with pytest.raises(RunError, match=r"model\.onnx is not a model that onnxruntime can read"):
        OnnxClassifier(path)
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RunError, match="it has no metadata with class names"):
        OnnxClassifier(path)


def test_three_lines_check_a_file(content):
    at = content.rindex(b"frostline-sha256:") + len(b"frostline-sha256:")
    whole = content[:at] + b"0" * 64 + content[at + 64 :]
    assert hashlib.sha256(whole).hexdigest() == content[at : at + 64].decode()


def test_a_flipped_bit_anywhere_is_found(content, tmp_path):
    path = tmp_path / "model.onnx"
    record = content.index(b'{"format"')
    places = [0, 1, 50, len(content) // 3, len(content) // 2, record + 11, len(content) - 1, len(content) - 40]
    places += range(content.rindex(b"frostline-sha256:") - 4, content.rindex(b"frostline-sha256:") + 20)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"model\.onnx .*(its checksum is (wrong|missing)|format|onnxruntime)"):
            OnnxClassifier(path)


def resealed(content, change):
    model = onnx.load_from_string(content)
    about = json.loads(model.metadata_props[0].value)
    del about["seal"]
    change(about)
    return add_metadata(model, about)


@pytest.mark.parametrize(
    "change",
    [
        {"class_names": []},
        {"class_names": ["a", "b"]},
        {"class_names": ["a"] * 10},
        {"class_names": "abcdefghij"},
        {"class_names": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]},
        {"image_size": 0},
        {"image_size": 65},
        {"image_size": "64"},
        {"format": 3},
        {"preprocess": {"image_size": 64, "mean": [8.485, 0.4, 0.4], "std": [1.0, 1.0, 1.0]}},
        {"preprocess": {"image_size": 64, "mean": [0.4, 0.4, 0.4], "std": [0.0, 1.0, 1.0]}},
        {"preprocess": []},
    ],
)
def test_an_impossible_record_is_refused(content, tmp_path, change):
    path = tmp_path / "model.onnx"
    path.write_bytes(resealed(content, lambda about: about.update(change)))
    with pytest.raises(RunError, match=r"model\.onnx (is damaged|has \d+ class names)"):
        OnnxClassifier(path)


def test_a_file_of_an_earlier_version_is_used_with_a_warning(content, onnx_classifier, fashion, tmp_path, caplog):
    model = onnx.load_from_string(content)
    about = json.loads(model.metadata_props[0].value) | {"format": 1}
    del about["seal"]
    model.metadata_props[0].value = json.dumps(about)
    path = tmp_path / "old.onnx"
    path.write_bytes(model.SerializeToString())
    old = OnnxClassifier(path)
    assert f"{path} is of an earlier version and has no checksum" in caplog.text
    images = fashion.test.images[:5]
    assert (old.predict(images) == onnx_classifier.predict(images)).all()


def test_a_pipe_or_folder_in_place_of_a_model_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe.onnx", tmp_path, "/dev/zero"):
        with pytest.raises(RunError, match=f"{path} cannot be read"):
            OnnxClassifier(path)

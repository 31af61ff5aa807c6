"""The ``.onnx`` file by itself, in real onnxruntime: real pictures of several sizes, grey and coloured."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from frostline.errors import DataError, RunError
from frostline.runs.exported import OnnxClassifier
from tests.class_folders import write_classes

LIMIT = 1e-4


def resized(images, width, height, mode):
    pictures = [Image.fromarray(np.asarray(image)).resize((width, height)).convert(mode) for image in images]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
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


def test_pictures_with_transparency_are_refused_not_misread(content):
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
    assert (model.producer_name, about["quantised"]) == ("frostline", None)
    assert b"/export/" not in content  # no path of the machine that wrote it


def finished_names(run):
    return tuple(run.metrics["test"]["per_class"])


def test_what_is_no_picture_is_refused(onnx_classifier, tmp_path):
    with pytest.raises(DataError, match="expected a uint8 array"):
        onnx_classifier.predict_proba(np.zeros((2, 8, 8), np.float32))
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match="is no picture that can be read"):
        onnx_classifier.predict_proba([tmp_path / "a.png"])


def test_what_is_no_model_of_ours_is_refused(content, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(RunError, match="cannot be read: No such file"):
        OnnxClassifier(path)
    path.write_bytes(content[:5000])
    with pytest.raises(RunError, match=r"model\.onnx is no model that onnxruntime can read"):
        OnnxClassifier(path)
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RunError, match="it does not say its classes"):
        OnnxClassifier(path)

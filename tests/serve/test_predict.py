"""The answers of the server equal the predictions of the model, for every kind of request."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from frostline.data.dataset import Splits
from frostline.data.decoding.decode import decode_image
from frostline.data.decoding.target import Target
from frostline.exporters.export import export
from frostline.inference.classifier import Classifier
from frostline.runs.folder import Run
from tests.serve.running import Running, as_json, encoded

Files = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def expected(run: Run, garments: Files) -> np.ndarray:
    """The model's own probabilities (20, 20, 10), in batches of 1 to 20 images.

    Which images go together is not known, and float32's last bits depend on how many do: one of the sizes must fit.
    """
    classifier = Classifier.load(run.folder)
    images = [decode_image(data, Target(64)) for _, data in garments]
    sizes = [[images[i : i + size] for i in range(0, 20, size)] for size in range(1, 21)]
    return np.array([np.concatenate([classifier.predict_proba(batch) for batch in batches]) for batches in sizes])


def apart(results: list[dict], classes: tuple[str, ...], expected: np.ndarray) -> float:
    """Return by how much a probability differs at most."""
    return np.abs(figures(results, classes) - expected).max(2).min(0).max()


def figures(results: list[dict], classes: tuple[str, ...]) -> np.ndarray:
    named = [{one["class"]: one["probability"] for one in result["predictions"]} for result in results]
    return np.array([[row[name] for name in classes] for row in named])


def test_probabilities_are_the_models(server: Running, run: Run, garments: Files, expected: np.ndarray) -> None:
    results = server.predict(garments, "?top=10").json()["results"]
    assert [result["name"] for result in results] == [name for name, _ in garments]
    assert apart(results, Classifier.load(run.folder).class_names, expected) <= 1e-6


def test_requests_at_the_same_time_get_their_own_answers(
    server: Running, run: Run, garments: Files, expected: np.ndarray
) -> None:
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda one: server.predict([one], "?top=10"), garments))
    results = [reply.json()["results"][0] for reply in replies]
    assert apart(results, Classifier.load(run.folder).class_names, expected) <= 1e-6
    metrics = server.ask("/metrics").content.decode()
    batches = float(metrics.split("frostline_batch_images_count ")[1].split()[0])
    classified = float(metrics.split("frostline_batch_images_sum ")[1].split()[0])
    assert batches < classified  # some went together


def test_json_equals_files(server: Running, garments: Files) -> None:
    body = as_json([data for _, data in garments[:3]])
    by_json = server.ask("/v1/predict", body, content_type="application/json").json()["results"]
    by_form = server.predict(garments[:3]).json()["results"]
    assert [one["name"] for one in by_json] == ["image 1", "image 2", "image 3"]
    assert [one["predictions"] for one in by_json] == [one["predictions"] for one in by_form]


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg; charset=binary", "application/octet-stream"])
def test_raw_body_is_one_image(server: Running, garments: Files, kind: str) -> None:
    raw = server.ask("/v1/predict?top=10", garments[0][1], content_type=kind)
    by_form = server.predict(garments[:1], "?top=10").json()["results"][0]
    assert raw.status == 200
    assert raw.json()["results"] == [{"name": "image 1", "predictions": by_form["predictions"]}]


@pytest.mark.parametrize("head", ["data:image/png;base64,", "data:;base64,", "DATA:image/x-any;name=a.png;BASE64,"])
def test_data_uri_equals_base64(server: Running, garments: Files, head: str) -> None:
    texts = [base64.b64encode(data).decode() for _, data in garments[:2]]
    body = json.dumps({"images": [head + texts[0], texts[1]]}).encode()
    by_json = server.ask("/v1/predict", body, content_type="application/json").json()["results"]
    by_form = server.predict(garments[:2]).json()["results"]
    assert [one["predictions"] for one in by_json] == [one["predictions"] for one in by_form]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_listed_format_is_read(server: Running, fashion: Splits, kind: str) -> None:
    reply = server.predict([("x", encoded(np.asarray(fashion.test.images[0]), kind))], "?top=1")
    assert reply.status == 200 and len(reply.json()["results"][0]["predictions"]) == 1


def test_names_are_labels_and_never_paths(server: Running, garments: Files) -> None:
    names = ["../../etc/passwd", "C:\\\\secrets\\\\boot.png", "/", "a\tb.png"]
    results = server.predict([(name, garments[0][1]) for name in names]).json()["results"]
    assert [one["name"] for one in results] == ["passwd", "boot.png", "image 3", "ab.png"]


def test_overlay_and_neighbors_on_request(server: Running, garments: Files) -> None:
    about = server.ask("/v1/model").json()
    assert about["explains"] and about["neighbors"] and about["name"] == "first" and about["kind"] == "run"
    one, two = server.predict(garments[:2], "?explain=true&neighbors=3").json()["results"]
    assert one["overlay"].startswith("data:image/png;base64,") and one["overlay"] != two["overlay"]
    assert len(one["neighbors"]) == 3 and one["neighbors"][0]["class"] in about["classes"]


def test_reject_marks_what_the_model_would_reject(server: Running, run: Run, garments: Files) -> None:
    about = server.ask("/v1/model").json()
    assert about["rejects"] and about["api"] == 2
    results = server.predict(garments, "?reject=0.5").json()["results"]
    threshold = Classifier.load(run.folder).threshold(0.5)
    expected = [one["predictions"][0]["probability"] < threshold for one in results]
    assert [one["rejected"] for one in results] == expected and True in expected
    assert "rejected" not in server.predict(garments[:1]).json()["results"][0]


def test_bundle_explains_and_knows_no_neighbors(run: Run, garments: Files) -> None:
    running = Running(run.model_folder)
    try:
        about = running.ask("/v1/model").json()
        refused = running.predict(garments[:1], "?neighbors=3")
    finally:
        running.close()
    assert about["kind"] == "bundle" and about["explains"] and not about["neighbors"]
    assert (refused.status, refused.json()["type"]) == (422, "urn:frostline:problem:no-neighbors")


def test_exported_file_answers_as_the_run_does(run: Run, garments: Files, expected: np.ndarray, tmp_path: Path) -> None:
    exported = export(run, tmp_path / "first.onnx").path
    running = Running(exported)
    try:
        about = running.ask("/v1/model").json()
        results = running.predict(garments, "?top=10").json()["results"]
    finally:
        running.close()
    assert about["kind"] == "onnx" and not about["explains"] and not about["neighbors"]
    np.testing.assert_allclose(figures(results, tuple(about["classes"])), expected[-1], atol=1e-4)  # in one batch

"""The engine of a server computes torch's probabilities, or is not used."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from frostline.data.decoding.decode import decode_image
from frostline.data.decoding.target import Target
from frostline.data.preprocess import Preprocess
from frostline.errors import ConfigError
from frostline.features.engine import MIN_SPEEDUP, read_record
from frostline.inference.classifier import Classifier
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, make_boundary
from frostline.models.heads import Head, HeadSpec
from frostline.models.registry import load_backbone
from frostline.runs.bundle import Model
from frostline.runs.folder import Run
from frostline.serve.engine import select_engine
from frostline.serve.model import load_served
from tests.serve.running import Running
from tests.serve.test_predict import figures

SIDE, CLASSES = 64, 5
Files = list[tuple[str, bytes]]


def classifier_of(backbone: Backbone, freeze: str, taps: tuple[str, ...] = ()) -> Classifier:
    """Return a model with a random head."""
    boundary = make_boundary(backbone, freeze, taps)
    preprocess = Preprocess(SIDE)
    with torch.inference_mode():
        features = backbone.between(None, boundary.end)(torch.zeros(1, 3, SIDE, SIDE)).flatten(1).shape[1]
    head = Head(HeadSpec("linear", features, CLASSES))
    nn.init.normal_(head.first.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    return Classifier(Model(backbone, boundary, preprocess, head.eval(), tuple("abcde")))


def lite() -> Classifier:
    backbone = load_backbone("efficientnet-lite0", "random")
    return classifier_of(backbone, backbone.feature_stage)


def alexnet(freeze: str) -> Classifier:
    return classifier_of(load_backbone("alexnet", "bundled"), freeze)


def pixels(count: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(count)) * 255


def assert_same_probabilities(classifier: Classifier, cache: Path, engine: str) -> None:
    selected = select_engine(engine, classifier.network, cache)
    assert selected is not classifier.network
    for count, channels in ((1, 3), (8, 3), (3, 1), (17, 3)):
        batch = pixels(count, channels)
        expected = classifier.network(batch)
        assert expected.shape == (count, CLASSES) and (count == 1 or expected.std(0).max() > 0.001)  # the images differ
        torch.testing.assert_close(selected(batch), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("freeze", ["conv5", "conv2", NONE])
def test_openvino_computes_the_whole_network(freeze: str, cache: Path) -> None:
    assert_same_probabilities(alexnet(freeze), cache, "openvino")


def test_openvino_computes_a_network_with_branches(cache: Path) -> None:
    assert_same_probabilities(lite(), cache, "openvino")


def test_onnxruntime_computes_the_whole_network(cache: Path) -> None:
    assert_same_probabilities(alexnet("conv2"), cache, "onnxruntime")


def test_threads_get_the_results_of_their_own_batches(cache: Path) -> None:
    engine = select_engine("openvino", alexnet("conv5").network, cache)
    batches = [pixels(1 + number % 9) for number in range(40)]
    expected = [engine(batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        for found, right in zip(threads.map(engine, batches), expected, strict=True):
            torch.testing.assert_close(found, right, rtol=0, atol=1e-6)


def test_views_are_averaged_in_every_engine(cache: Path) -> None:
    classifier, images = alexnet("conv5"), pixels(3).byte().permute(0, 2, 3, 1).numpy()
    expected = classifier.predict_proba(images, tta=3)
    assert np.abs(expected - classifier.predict_proba(images)).max() > 1e-3
    classifier.engine = select_engine("openvino", classifier.network, cache)
    np.testing.assert_allclose(classifier.predict_proba(images, tta=3), expected, atol=1e-4)


def test_auto_measures_once_and_remembers(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "frostline")
    network = lite().network
    selected = select_engine("auto", network, cache)
    (file,) = (cache / "engines").iterdir()
    record = read_record(file)
    assert record is not None and set(record.images_per_second) == {"torch", "openvino"}
    speedup = record.images_per_second["openvino"] / record.images_per_second["torch"]
    assert record.engine == ("openvino" if speedup >= MIN_SPEEDUP else "torch")
    assert (selected is network) == (record.engine == "torch")
    assert f"engine: {record.summary}" in caplog.text
    for engine, rates in (("openvino", {"torch": 1, "openvino": 2}), ("torch", {"torch": 2, "openvino": 1})):
        file.write_text(record.model_copy(update={"engine": engine, "images_per_second": rates}).model_dump_json())
        before = file.stat().st_mtime_ns
        assert (select_engine("auto", network, cache) is network) == (engine == "torch")
        assert file.stat().st_mtime_ns == before
    assert "engine: openvino, 2 images/s (torch 1)" in caplog.text


def test_auto_leaves_networks_that_torch_runs_fast(cache: Path) -> None:
    network = alexnet("conv5").network
    assert select_engine("auto", network, cache) is network
    assert select_engine("torch", network, cache) is network
    assert not list(cache.iterdir())


class Differing(nn.Module):
    """Computes something else once it is compiled."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if torch.jit.is_tracing() else x


class Untraceable(nn.Module):
    """Cannot be compiled."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("cannot be traced")
        return x


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(Differing(), "engine: openvino differs from torch by"),
     (Untraceable(), "engine: openvino cannot run this network (cannot be traced)")],
)  # fmt: skip
def test_an_engine_that_does_not_agree_is_not_used(
    layer: nn.Module, reason: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "frostline")
    module = nn.Sequential(
        nn.Conv2d(3, 8, 5, 4), nn.ReLU(), layer, nn.Conv2d(8, 8, 3, 2), nn.Flatten(), nn.Linear(392, 5)
    )
    network = classifier_of(Backbone.from_module(module, stages=["0", "3"], image_size=SIDE), "3").network
    assert select_engine("openvino", network, cache) is network
    assert reason in caplog.text
    assert "--engine openvino is not used: torch computes the predictions" in caplog.text


def test_a_served_engine_answers_as_the_model(run: Run, garments: Files) -> None:
    classifier = Classifier.load(run.folder)
    expected = classifier.predict_proba([decode_image(data, Target(64)) for _, data in garments])
    server = Running(run.folder, engine="openvino")
    try:
        together = server.predict(garments, "?top=10").json()["results"]
        alone = server.predict(garments[:1], "?top=10").json()["results"]
    finally:
        server.close()
    np.testing.assert_allclose(figures(together, classifier.class_names), expected, atol=1e-4)
    np.testing.assert_allclose(figures(alone, classifier.class_names), expected[:1], atol=1e-4)


def test_an_unknown_engine_is_refused(run: Run) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown engine 'openvin': expected one of auto, .*\. Did you mean 'openvino'\?"
    ):
        load_served(str(run.folder), run.folder.parent, "openvin")


def test_an_exported_file_runs_in_onnxruntime_alone() -> None:
    with pytest.raises(ConfigError, match=r"--engine torch: first.onnx runs in onnxruntime alone; leave out --engine"):
        load_served("first.onnx", Path("runs"), "torch")

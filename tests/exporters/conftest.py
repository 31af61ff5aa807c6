"""A finished run, its model, and the ONNX file made of it: only read."""

from pathlib import Path

import pytest
from torch.export import ExportedProgram

from frostline.data.dataset import ImageDataset
from frostline.data.registry import load_dataset
from frostline.exporters.exportable_model import export_program, export_record
from frostline.exporters.formats import to_onnx
from frostline.inference.classifier import Classifier
from frostline.inference.onnx import OnnxClassifier
from frostline.pipeline.resolve import split
from frostline.runs.bundle import Model, load_bundle
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.small_run import small_config


@pytest.fixture(scope="session")
def finished(small_fashion: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run named ``first``, whose head reads two stages."""
    place = tmp_path_factory.mktemp("export")
    config = small_config(small_fashion, epochs=6, taps="conv2,conv5", weights="bundled")
    return fit(config, name="first", output_dir=place / "runs", cache_dir=place / "cache")


@pytest.fixture(scope="session")
def parts(finished: Run) -> tuple[ImageDataset, ...]:
    """The validation, test and training split of the run."""
    splits = split(load_dataset("fashion-mnist", finished.config.data_dir), finished.config)
    return splits.val, splits.test, splits.train


@pytest.fixture(scope="session")
def model(finished: Run) -> Model:
    return load_bundle(finished.model_folder)


@pytest.fixture(scope="session")
def classifier(finished: Run) -> Classifier:
    """What `predict` uses."""
    return Classifier.load(finished.folder)


@pytest.fixture(scope="session")
def program(model: Model) -> ExportedProgram:
    return export_program(model)


@pytest.fixture(scope="session")
def content(program: ExportedProgram, finished: Run) -> bytes:
    """An ``.onnx`` file's content."""
    return to_onnx(program, export_record(finished), "alexnet")


@pytest.fixture(scope="session")
def onnx_classifier(content: bytes) -> OnnxClassifier:
    return OnnxClassifier(content, threads=1)

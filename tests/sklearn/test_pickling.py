"""A pickled estimator predicts the same in another process without cache and weight file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from frostline.models.registry import load_backbone
from frostline.sklearn import FeatureExtractor, TransferClassifier
from tests.sklearn.conftest import Labelled

PREDICT = """
import sys, joblib, numpy as np
models = joblib.load(sys.argv[1])
np.savez(sys.argv[3], **{name: model.predict_proba(np.load(sys.argv[2])) for name, model in models.items()})
"""
FAST: dict[str, Any] = {"image_size": 64, "taps": "none"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights in a file that will be removed."""
    stages = load_backbone("alexnet", "random", seed=4).state_dict()
    plain = {f"features.{i}.{kind}": stages[f"stages.conv{n}.0.{kind}"].contiguous()
             for n, i in enumerate((0, 3, 6, 8, 10), start=1) for kind in ("weight", "bias")}  # fmt: skip
    save_file(plain, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def test_dump_predicts_the_same_in_another_process(
    weights: Path, labeled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = FeatureExtractor(weights=str(weights), **FAST)
    models: dict[str, Any] = {
        "head": TransferClassifier(weights=str(weights), epochs=3, **FAST),
        "thawed": TransferClassifier(weights=str(weights), freeze="conv4", head="mlp", epochs=1, **FAST),
        "pipeline": make_pipeline(rows, LogisticRegression(max_iter=1000)),
    }
    X = labeled[0][:9]
    expected = {name: model.fit(*labeled).predict_proba(X) for name, model in models.items()}
    files = [tmp_path / name for name in ("models.joblib", "X.npy", "probabilities.npz")]
    joblib.dump(models, files[0], compress=3)
    np.save(files[1], X)
    weights.unlink()
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "empty-cache"))
    subprocess.run([sys.executable, "-c", PREDICT, *files], check=True)
    there = np.load(files[2])
    for name, probabilities in expected.items():
        np.testing.assert_allclose(there[name], probabilities, rtol=0, atol=1e-6)


def test_dump_may_be_mapped_into_memory(labeled: Labelled, tmp_path: Path) -> None:
    model = TransferClassifier(weights="bundled", epochs=1, **FAST).fit(*labeled)
    joblib.dump(model, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert (again.predict_proba(labeled[0]) == model.predict_proba(labeled[0])).all()
    assert (tmp_path / "model.joblib").stat().st_size < 11e6

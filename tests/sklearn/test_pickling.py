"""A dumped estimator predicts the same in another process, with no cache and no weight file there."""

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

from frostline.networks.registry import load_backbone
from frostline.sklearn import ActivationTransformer, TransferClassifier
from tests.sklearn.conftest import Labelled

PREDICT = """
import sys, joblib, numpy as np
model = joblib.load(sys.argv[1])
np.save(sys.argv[3], model.predict_proba(np.load(sys.argv[2])))
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


@pytest.mark.parametrize("kind", ["head", "thawed", "pipeline"])
def test_dump_predicts_the_same_in_another_process(
    kind: str, weights: Path, labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {
        "head": TransferClassifier(weights=str(weights), epochs=3, **FAST),
        "thawed": TransferClassifier(weights=str(weights), freeze="conv4", head="mlp", epochs=1, **FAST),
        "pipeline": make_pipeline(
            ActivationTransformer(weights=str(weights), **FAST), LogisticRegression(max_iter=1000)
        ),
    }
    model = models[kind].fit(*labelled)
    expected = model.predict_proba(labelled[0][:9])
    joblib.dump(model, tmp_path / "model.joblib", compress=3)
    np.save(tmp_path / "X.npy", labelled[0][:9])
    weights.unlink()
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "empty-cache"))
    files = [tmp_path / name for name in ("model.joblib", "X.npy", "probabilities.npy")]
    subprocess.run([sys.executable, "-c", PREDICT, *files], check=True)
    np.testing.assert_allclose(np.load(files[2]), expected, rtol=0, atol=1e-6)


def test_dump_may_be_mapped_into_memory(labelled: Labelled, tmp_path: Path) -> None:
    model = TransferClassifier(weights="bundled", epochs=1, **FAST).fit(*labelled)
    joblib.dump(model, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert (again.predict_proba(labelled[0]) == model.predict_proba(labelled[0])).all()
    assert (tmp_path / "model.joblib").stat().st_size < 11e6

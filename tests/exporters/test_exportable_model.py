"""The whole model as one module gives what `predict` gives, wherever it is cut and whatever head it has."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.data.dataset import Splits
from frostline.data.preprocess import Preprocess
from frostline.errors import ExportError
from frostline.exporters.exportable_model import ExportableModel, export_program
from frostline.inference.classifier import Classifier
from frostline.models.alexnet import STAGES
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, Frozen, make_boundary
from frostline.models.heads import Head, HeadSpec
from frostline.models.registry import load_backbone
from frostline.runs.bundle import Model

SIDE = 64


def untrained(backbone: Backbone, freeze: str, taps: tuple[str, ...], kind: str) -> Model:
    """A model whose head was standardized and drawn, not taught."""
    boundary = make_boundary(backbone, freeze, taps)
    with torch.inference_mode():
        features = Frozen(backbone, boundary.closed)(torch.rand(4, 3, SIDE, SIDE)).flatten(1)
    torch.manual_seed(0)
    head = Head(HeadSpec(kind, features.shape[1], 5, hidden_width=32)).eval()
    torch.nn.init.normal_(head.first.weight, std=1 / features.shape[1])
    head.standardize(features.mean(0).clone(), features.std(0).clone())
    return Model(backbone, boundary, Preprocess(SIDE), head, tuple("abcde"))


@pytest.fixture(scope="module")
def alexnet() -> Backbone:
    return load_backbone("alexnet", "random", last="fc7")


@pytest.mark.parametrize(
    ("freeze", "taps", "kind"),
    [(NONE, (), "linear"), (NONE, ("conv1", "conv3"), "mlp"), ("conv5", STAGES[:5], "ridge"),
     *((stage, (stage,), "linear") for stage in STAGES[:5]), ("conv2", ("conv1", "conv4"), "mlp"),
     ("fc6", (), "ridge"), ("fc7", ("conv2", "fc7"), "mlp")],
    ids=str,
)  # fmt: skip
def test_every_boundary_every_head(
    alexnet: Backbone, fashion: Splits, freeze: str, taps: tuple[str, ...], kind: str
) -> None:
    last = make_boundary(alexnet, freeze, taps).end
    model = untrained(alexnet.upto(last), freeze, taps, kind)
    images = np.array(fashion.test.images[:6])
    expected = Classifier(model).predict_proba(images)
    with torch.inference_mode():
        probabilities, ids = ExportableModel(model)(torch.from_numpy(images[..., None]))
    assert np.abs(probabilities.numpy() - expected).max() < 1e-5
    assert ids.tolist() == expected.argmax(1).tolist()


def test_the_model_itself_stays_as_it_is(model: Model) -> None:
    before = {key: value.clone() for key, value in model.head.state_dict().items()}
    ExportableModel(model)
    assert all(torch.equal(value, before[key]) for key, value in model.head.state_dict().items())


class Moody(torch.nn.Module):
    """A stage that looks at its numbers to decide what to do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_what_no_program_can_hold_gets_one_line(tmp_path: Path) -> None:
    stages = [("first", torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), Moody()))]
    backbone = Backbone("moody", stages, min_image_size=8, feature_stage="first")
    with pytest.raises(ExportError, match=r"torch\.export cannot export moody \(.*\): use `frostline predict`"):
        export_program(untrained(backbone, "first", (), "linear"))

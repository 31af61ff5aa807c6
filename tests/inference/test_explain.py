"""Explanations: the model's own answers, maps that lie where the object is, neighbors that are alike."""

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.encoding import encode
from frostline.data.preprocess import Preprocess
from frostline.errors import ConfigError, DataError, RunError, UnknownNameError
from frostline.inference.classifier import Classifier
from frostline.inference.explain import Explainer, Neighbor
from frostline.models.boundary import make_boundary
from frostline.models.heads import Head, HeadSpec
from frostline.models.registry import find_network
from frostline.runs.bundle import Model
from frostline.runs.embedding_index import read_index
from frostline.runs.fit import fit
from frostline.runs.folder import Run

STAGES = {"conv1": 15, "conv2": 7, "conv3": 3, "conv4": 3, "conv5": 3}


def in_quadrants(images: ImageDataset, count: int, seed: int) -> tuple[ImageDataset, np.ndarray]:
    """Garments in one quarter of a black image each, and which quarter: 0 to 3."""
    quarters = np.random.default_rng(seed).integers(0, 4, count)
    drawn = np.zeros((count, 56, 56), np.uint8)
    for image, garment, quarter in zip(drawn, images.images, quarters, strict=False):
        quarter_of(image, quarter)[:] = garment
    return ImageDataset(drawn, images.labels[:count], images.class_names), quarters


def quarter_of(image: np.ndarray, quarter: int) -> np.ndarray:
    half = image.shape[0] // 2
    row, column = divmod(int(quarter), 2)
    return image[half * row : half * (row + 1), half * column : half * (column + 1)]


@pytest.fixture(scope="module")
def quadrants(fashion: Splits) -> tuple[ImageDataset, ImageDataset, np.ndarray]:
    """Training images, test images, and where the test images' garments lie."""
    return in_quadrants(fashion.train, 600, 0)[0], *in_quadrants(fashion.test, 120, 1)


@pytest.fixture(scope="module")
def run(quadrants: tuple, tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("quadrants")
    train, test, _ = quadrants
    config = TrainConfig(data="quadrants", model="alexnet", image_size=64, epochs=8)
    return fit(config, splits=Splits("quadrants", train, test, "memory"), output_dir=place, cache_dir=place / "cache")


@pytest.fixture(scope="module")
def explainer(run: Run) -> Explainer:
    return Explainer.load(run.folder)


@pytest.fixture(scope="module")
def garments(quadrants: tuple) -> np.ndarray:
    return np.asarray(quadrants[1].images[:40])


def test_probabilities_are_the_classifiers(run: Run, explainer: Explainer, garments: np.ndarray) -> None:
    assert explainer.model.boundary.taps == ("conv1", "conv2", "conv3", "conv4", "conv5")
    color = np.random.default_rng(0).integers(0, 256, (5, 40, 70, 3), np.uint8)
    for images in (garments, color, [garments[0], color[0]]):
        expected = Classifier(explainer.model).predict_proba(images)
        np.testing.assert_allclose(explainer.predict_proba(images), expected, atol=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_a_map_has_its_stages_places_before_it_is_enlarged(
    explainer: Explainer, garments: np.ndarray, stage: str
) -> None:
    assert explainer.grids == STAGES
    signed = explainer.signed_maps(garments[:3], stage=stage)
    assert (signed.shape, signed.dtype) == ((3, STAGES[stage], STAGES[stage]), np.float32)
    maps = explainer.explain(garments[:3], stage=stage)
    assert (maps.shape, maps.dtype) == ((3, 64, 64), np.float32)
    assert 0 <= maps.min() <= maps.max() <= 1


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
@pytest.mark.parametrize("stage", ["conv1", "conv5"])
def test_maps_lie_where_the_object_is(explainer: Explainer, quadrants: tuple, stage: str, method: str) -> None:
    _, test, quarters = quadrants
    maps = explainer.explain(test.images, stage=stage, method=method)
    found = maps.sum((1, 2)) > 0
    shares = np.array([quarter_of(one, q).sum() / one.sum() for one, q in zip(maps[found], quarters[found])])  # noqa: B905
    assert found.mean() > 0.8
    assert shares.mean() > 0.35  # a quarter by chance
    assert (shares > 0.25).mean() > 0.8


def test_another_class_and_another_head_have_other_maps(explainer: Explainer, garments: np.ndarray) -> None:
    best = explainer.predict_proba(garments).argmax(1)
    maps = explainer.signed_maps(garments)
    np.testing.assert_array_equal(maps, explainer.signed_maps(garments, best.tolist(), "conv5"))
    other = explainer.signed_maps(garments, ((best + 1) % 10).tolist())
    model = copy.deepcopy(explainer.model)
    torch.manual_seed(0)
    nn.init.normal_(model.head.first.weight, std=float(model.head.first.weight.detach().std()))
    drawn = Explainer(model).signed_maps(garments, best.tolist())
    for changed in (other, drawn):
        pairs = zip(maps.reshape(40, -1), changed.reshape(40, -1), strict=True)
        assert np.median([np.corrcoef(one, two)[0, 1] for one, two in pairs]) < 0.5


def untaught() -> Model:
    """AlexNet with drawn weights, a linear head on conv5 alone."""
    backbone = find_network("alexnet").build("conv5", seed=3)
    head = Head(HeadSpec("linear", 256, 4))
    generator = torch.Generator().manual_seed(0)
    head.first.weight.data.normal_(generator=generator)
    head.standardize(torch.rand(256, generator=generator), torch.rand(256, generator=generator))
    return Model(backbone, make_boundary(backbone, "conv5", ()), Preprocess(64), head, ("a", "b", "c", "d"))


def test_grad_cam_is_what_its_formula_says(garments: np.ndarray) -> None:
    model = untaught()
    stages = model.backbone.stages
    x = model.backbone.between(None, "conv4")(model.preprocess(garments[:5]))
    activation = stages["conv5"][:2](x).detach().requires_grad_()  # (5, 256, 3, 3)
    logits = model.head(stages["conv5"][2](activation))
    (gradient,) = torch.autograd.grad(logits[:, 2].sum(), activation)
    expected = (gradient.mean((2, 3), keepdim=True) * activation).sum(1).detach().numpy()
    found = Explainer(model).signed_maps(garments[:5], [2] * 5, "conv5")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_hires_cam_shares_out_the_whole_logit(garments: np.ndarray) -> None:
    model = untaught()
    with torch.no_grad():
        logits = model.head(model.frozen(model.preprocess(garments[:5])))[:, 2].numpy()
        bias = float(model.head(torch.zeros(1, 256))[0, 2])
    maps = Explainer(model).signed_maps(garments[:5], [2] * 5, "conv5", method="hirescam")
    np.testing.assert_allclose(maps.sum((1, 2)) + bias, logits, rtol=1e-3, atol=1e-3)


def test_neighbors_of_a_training_image_contain_itself(run: Run, explainer: Explainer, quadrants: tuple) -> None:
    train = quadrants[0]
    index = read_index(run.index)
    encoded = [encode(image) for image in np.asarray(train.images)]
    members = [3, 50, 200]
    positions = [encoded.index(index.images.encoded[member]) for member in members]
    found = explainer.neighbors(np.asarray(train.images)[positions], 3)
    for member, position, near in zip(members, positions, found, strict=True):
        assert [type(one) for one in near] == [Neighbor] * 3
        assert near[0].thumbnail == index.images.encoded[member]
        assert near[0].similarity > 0.999 and near[0].similarity >= near[1].similarity
        assert near[0].class_name == train.class_names[train.labels[position]]
        assert near[0].suffix == ".jpg" and near[0].file == ""


def test_a_model_folder_alone_explains_but_knows_no_neighbors(run: Run, garments: np.ndarray) -> None:
    bundle = Explainer.load(run.model_folder)
    assert not bundle.knows_neighbors and Explainer.load(run.folder).knows_neighbors
    assert bundle.explain(garments[:1]).shape == (1, 64, 64)
    with pytest.raises(RunError, match="no index of training images: load it from a run folder that has one"):
        bundle.neighbors(garments[:1])


def test_no_images_are_no_explanations(explainer: Explainer) -> None:
    none = np.empty((0, 28, 28), np.uint8)
    assert explainer.explain(none).shape == (0, 64, 64)
    assert explainer.neighbors(none) == []


def test_what_cannot_be_explained_is_said(explainer: Explainer, garments: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown stage of alexnet .* 'convv4'.*Did you mean 'conv4'"):
        explainer.explain(garments, stage="convv4")
    with pytest.raises(UnknownNameError, match=r"unknown method 'gradcamm'.*Did you mean 'gradcam'"):
        explainer.explain(garments, method="gradcamm")
    with pytest.raises(ConfigError, match="expected one number for each of 40 images, got 1"):
        explainer.explain(garments, [0])
    with pytest.raises(ConfigError, match="classes run from 10 to 10: expected 0 to 9"):
        explainer.explain(garments[:1], [10])
    (tmp_path / "notes.png").write_text("no image")
    with pytest.raises(DataError, match=r"notes\.png is not a readable image"):
        explainer.explain([tmp_path / "notes.png"])
    with pytest.raises(DataError, match="expected a uint8 array"):
        explainer.explain(garments.astype(np.float32))


def test_a_stage_without_places_is_refused_with_those_that_have_some() -> None:
    backbone = find_network("alexnet").build("fc6", seed=0)
    head = Head(HeadSpec("linear", 4096, 4))
    nn.init.normal_(head.first.weight)
    whole = Explainer(Model(backbone, make_boundary(backbone, "fc6", ()), Preprocess(64), head, ("a", "b", "c", "d")))
    with pytest.raises(
        ConfigError, match=r"stage 'fc6' of alexnet cannot be explained: .* These can: conv1, .*conv5\."
    ):
        whole.stage("fc6")
    assert whole.stage() == "conv5"


def test_threads_may_share_one(explainer: Explainer, garments: np.ndarray) -> None:
    stages = [*STAGES, *STAGES]
    expected = [explainer.signed_maps(garments[:4], stage=stage) for stage in stages]
    with torch.inference_mode(), ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda stage: explainer.signed_maps(garments[:4], stage=stage), stages))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)

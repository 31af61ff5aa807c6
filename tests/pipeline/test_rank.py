import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset, Splits
from frostline.errors import ConfigError, UnknownNameError
from frostline.pipeline.context import Context
from frostline.pipeline.rank import (
    RankedNetwork,
    best_value,
    candidates,
    choose_network,
    cross_validated,
    draw_ranking,
    rank_networks,
    with_model,
)
from frostline.pipeline.resolve import check_network, resolve_network

NAMES = ["alexnet", "efficientnet-lite0"]


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("FROSTLINE_OFFLINE", "1")
    return Context(tmp_path, torch.device("cpu"))


def ranked(accuracy: float, operations: int) -> RankedNetwork:
    return RankedNetwork("x", "imagenet", (), 64, accuracy, 0.02, operations)


def test_networks_with_weights_on_this_machine_are_candidates(context: Context) -> None:
    assert candidates(context) == ["alexnet", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"]


def test_networks_are_ranked_by_accuracy_on_a_sample(fashion: Splits, context: Context) -> None:
    found = rank_networks(fashion.train, NAMES, context, count=60, image_size=64)
    assert [one.accuracy for one in found] == sorted((one.accuracy for one in found), reverse=True)
    lite = ("efficientnet-lite0", "imagenet")
    expected = {("alexnet", "bundled", True), (*lite, True), (*lite, False)}
    assert {(one.model, one.weights, bool(one.taps)) for one in found} == expected
    assert all(0.4 < one.accuracy <= 1 and 0 < one.standard_error < 0.1 for one in found)
    operations = {one.model: one.operations for one in found}
    assert operations["alexnet"] == pytest.approx(39.5e6, rel=0.01)


def test_the_sample_is_cached(fashion: Splits, context: Context, caplog: pytest.LogCaptureFixture) -> None:
    first = rank_networks(fashion.train, ["alexnet"], context, count=40, image_size=64)
    caplog.set_level(logging.DEBUG, "frostline")
    assert rank_networks(fashion.train, ["alexnet"], context, count=40, image_size=64) == first
    assert "to compute" not in caplog.text


def test_labels_of_other_images_are_not_read(fashion: Splits, context: Context) -> None:
    images = fashion.train.subset(np.arange(60))
    changed = replace(images, labels=images.labels.copy())
    first = rank_networks(images, ["alexnet"], context, image_size=64)
    changed.labels[:30] = (changed.labels[:30] + 1) % 10
    assert rank_networks(changed, ["alexnet"], context, image_size=64)[0].accuracy < first[0].accuracy


def test_the_cheapest_within_one_standard_error_is_chosen() -> None:
    assert best_value([ranked(0.80, 900), ranked(0.79, 400), ranked(0.77, 10)]).operations == 400
    assert best_value([ranked(0.80, 900), ranked(0.77, 10)]).operations == 900


def test_cross_validation_equals_scikit_learns_on_all_columns() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 12)
    rows = generator.normal(size=(36, 90)) + 0.4 * labels[:, None] * generator.normal(size=90)
    scaled = StandardScaler().fit_transform(rows)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    norm = np.square(scaled).sum(1).mean()
    expected = max(
        (cross_val_predict(RidgeClassifier(strength * norm), scaled, labels, cv=folds) == labels).sum()
        for strength in (0.01, 0.1, 1.0)
    )
    assert cross_validated(torch.from_numpy(rows), labels, None).sum() == expected


def test_images_of_a_group_share_a_fold() -> None:
    generator = np.random.default_rng(0)
    rows = torch.from_numpy(np.repeat(generator.normal(size=(20, 50)), 2, axis=0))  # every image twice
    labels = np.repeat(generator.permutation(np.arange(20) % 2), 2)  # noise
    assert cross_validated(rows, labels, None).mean() > 0.9  # copies vouch for each other
    assert cross_validated(rows, labels, np.repeat(np.arange(20), 2)).mean() < 0.75


def test_constant_features_and_single_images_are_no_error() -> None:
    assert not cross_validated(torch.zeros(3, 4), np.array([0, 1, 2]), None).any()
    assert len(cross_validated(torch.ones(6, 4), np.array([0, 0, 0, 1, 1, 2]), None)) == 6


def test_auto_chooses_network_weights_and_taps(
    fashion: Splits, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "frostline")
    config = TrainConfig(data="x", image_size=64)
    check_network(config)
    images = fashion.train.subset(np.arange(60))
    chosen = choose_network(config, images, context)
    assert chosen.model in candidates(context) and chosen.weights in ("bundled", "imagenet")
    assert f"model: {chosen.model}, cross-validated accuracy" in caplog.text
    network = resolve_network(config, images, context)
    assert (network.config.model, network.config.taps) == (chosen.model, chosen.taps)


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ({"data": "fashion-mnist"}, "alexnet"),
        ({"data": "drawn-objects"}, "alexnet"),
        ({"data": "photos"}, "auto"),
        ({"data": "photos", "weights": "random"}, "alexnet"),
        ({"data": "photos", "freeze": "conv3"}, "alexnet"),
        ({"data": "photos", "taps": ()}, "alexnet"),
        ({"data": "photos", "taps": "none", "model": "efficientnet-lite0"}, "efficientnet-lite0"),
    ],
)
def test_own_images_choose_where_nothing_names_a_network(settings: dict[str, Any], model: str) -> None:
    assert with_model(TrainConfig(**settings)).model == model


@pytest.mark.parametrize(("images", "classes", "count"), [(300, 4, 200), (9_000, 4, 270), (9_000, 90, 900),
                                                          (90_000, 4, 1_000)])  # fmt: skip
def test_large_data_sets_are_compared_on_more_images(
    fashion: Splits, context: Context, monkeypatch: pytest.MonkeyPatch, images: int, classes: int, count: int
) -> None:
    asked = []

    def rank(images: ImageDataset, names: list[str], context: Context, **options: Any) -> list[RankedNetwork]:
        asked.append(len(images))
        return [ranked(0.9, 100)]

    monkeypatch.setattr("frostline.pipeline.rank.rank_networks", rank)
    labels = np.arange(images) % classes
    many = ImageDataset(np.zeros((images, 2, 2), np.uint8), labels, tuple(map(str, range(classes))))
    choose_network(TrainConfig(data="x"), many, context)
    assert asked == [count]


def test_a_comparison_is_remembered_until_images_networks_or_settings_change(
    fashion: Splits, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def rank(images: ImageDataset, names: list[str], *_: Any, **options: Any) -> list[RankedNetwork]:
        calls.append(len(images))
        return [ranked(0.9, 100), replace(ranked(0.7, 50), taps=("conv1", "conv2"))]

    monkeypatch.setattr("frostline.pipeline.rank.rank_networks", rank)
    images, config = fashion.train.subset(np.arange(60)), TrainConfig(data="x")
    first = choose_network(config, images, context)
    assert choose_network(config.model_copy(update={"seed": 3}), images, context) == first.model_copy(
        update={"seed": 3}
    )
    assert calls == [60]
    choose_network(config, images.subset(np.arange(59)), context)
    choose_network(config.model_copy(update={"image_size": 64}), images, context)
    choose_network(config.model_copy(update={"fit": "crop"}), images, context)
    relabeled = replace(images, labels=np.roll(images.labels, 1))
    choose_network(config, relabeled, context)
    monkeypatch.setattr("frostline.pipeline.rank.candidates", lambda context: ["alexnet"])
    choose_network(config, images, context)
    assert len(calls) == 6


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'[{"model": 1}]', b"[1]"])
def test_a_damaged_comparison_is_made_again(
    fashion: Splits, context: Context, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    monkeypatch.setattr("frostline.pipeline.rank.rank_networks", lambda *_, **__: [ranked(0.9, 100)])
    images = fashion.train.subset(np.arange(60))
    chosen = choose_network(TrainConfig(data="x"), images, context)
    (file,) = (context.cache / "rankings").iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage)
    assert choose_network(TrainConfig(data="x"), images, context) == chosen
    assert file.read_bytes() == whole


def test_weights_that_are_elsewhere_are_not_downloaded(fashion: Splits, context: Context) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match="timm:resnet18: its pre-trained weights are not on this machine"):
        rank_networks(fashion.train, ["timm:resnet18"], context, count=20)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache with random weights of a small and a large network, and folders of others."""
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    for name, repository in (("resnet10t", "resnet10t.c3_in1k"), ("resnet152", "resnet152.a1_in1k")):
        folder = tmp_path / "hub" / f"models--timm--{repository}"
        (folder / "snapshots" / "abc").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc")
        state = timm.create_model(name, pretrained=False).state_dict() if name == "resnet10t" else {}
        save_file(state, folder / "snapshots" / "abc" / "model.safetensors")
    for name in ("models--timm--no_such_network", "models--timm--resnet18.a1_in1k", "models--other--resnet10t"):
        (tmp_path / "hub" / name).mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_small_networks_in_the_hubs_cache_are_candidates(hub: Path, fashion: Splits, context: Context) -> None:
    names = candidates(context)
    assert [name for name in names if name.startswith("timm:")] == ["timm:resnet10t.c3_in1k"]
    (one,) = rank_networks(fashion.train, names[-1:], context, count=40, image_size=64)
    assert (one.model, one.weights) == ("timm:resnet10t.c3_in1k", "pretrained")


def test_all_names_are_checked_before_any_network_runs(
    fashion: Splits, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "frostline")
    with pytest.raises(UnknownNameError, match="Did you mean 'alexnet'"):
        rank_networks(fashion.train, ["alexnet", "alexnett"], context, count=20, image_size=64)
    assert "frozen pass" not in caplog.text


@pytest.mark.parametrize("count", [1, 2, 12])
def test_the_picture_names_every_network_and_marks_the_choice(tmp_path: Path, count: int) -> None:
    networks = [ranked(0.9 - 0.03 * number, 100 * (count - number)) for number in range(count)]
    draw_ranking(networks, "networks on photos", tmp_path / "ranking.png")
    pixels = np.asarray(Image.open(tmp_path / "ranking.png").convert("RGB")).reshape(-1, 3)
    assert (pixels == (0xC2, 0x41, 0x0C)).all(1).any()
    assert (pixels == (0x0B, 0x6F, 0xA4)).all(1).any() == (count > 1)

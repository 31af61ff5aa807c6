"""What names a store: everything an activation depends on besides its image, and nothing else."""

import pytest
import torch

from frostline.data.augment import View
from frostline.data.preprocess import Preprocess
from frostline.features.store import FORMAT_VERSION, FeatureKey, feature_key
from frostline.models.backbone import Backbone
from frostline.models.boundary import TAP_GRID, Frozen, make_boundary
from frostline.models.registry import load_backbone

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FROZEN_TENSORS = [f"stages.conv{number}.0.{kind}" for number in (1, 2, 3) for kind in ("weight", "bias")]
THAWED_TENSORS = [f"stages.conv{number}.0.{kind}" for number in (4, 5) for kind in ("weight", "bias")]


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone("alexnet", "random", seed=0)


def spec(
    backbone: Backbone,
    *,
    network: str = "alexnet",
    freeze: str = "conv3",
    taps: tuple[str, ...] = (),
    preprocess: Preprocess | None = None,
    dtype: str = "float16",
) -> FeatureKey:
    frozen = Frozen(backbone, make_boundary(backbone, freeze, taps))
    return feature_key(network, frozen, preprocess or Preprocess(64), dtype)


def nudge(backbone: Backbone, name: str) -> None:
    """Change one number of one tensor by one rounding step."""
    tensor = backbone.state_dict()[name]
    last = (-1,) * tensor.ndim
    tensor[last] = torch.nextafter(tensor[last], torch.tensor(9.0))


def test_digests_are_those_of_the_caches_on_disk() -> None:
    """A word that is changed in what is hashed would leave every cached feature unused."""
    bundled = load_backbone("alexnet", "bundled")
    taps = ("conv1", "conv2", "conv3", "conv4", "conv5")
    kinds = ("float16", "float32")
    digests = [
        spec(bundled, freeze="conv5", taps=taps, preprocess=Preprocess(128), dtype=kind).digest for kind in kinds
    ]
    assert digests == ["e93fdd3d1e3fed2b118f4f2c8c0098d2", "6cb75798d0ed30871f364cfdd0373fbf"]


def test_the_same_way_has_the_same_digest(backbone: Backbone) -> None:
    again = spec(load_backbone("alexnet", "random", seed=0))
    assert spec(backbone).digest == again.digest
    assert len(again.digest) == 32
    assert again.to_dict()["preprocess"]["image_size"] == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"preprocess": Preprocess(65)},
        {"preprocess": Preprocess(64, mean=(0.485, 0.456, 0.407))},
        {"preprocess": Preprocess(64, std=(0.228, 0.224, 0.225))},
        {"freeze": "conv2"},
        {"taps": ("conv3",)},
        {"taps": ("conv1", "conv3")},
        {"dtype": "float32"},
        {"network": "another"},
    ],
    ids=str,
)
def test_an_ingredient_changed_alone_is_another_store(backbone: Backbone, changed: dict[str, object]) -> None:
    assert spec(backbone, **changed).digest != spec(backbone).digest


def test_other_taps_are_another_store(backbone: Backbone) -> None:
    digests = {
        spec(backbone, taps=taps).digest
        for taps in ((), ("conv1",), ("conv2",), ("conv3",), ("conv1", "conv3"), ("conv2", "conv3"))
    }
    assert len(digests) == 6


def test_the_order_taps_are_named_in_does_not_matter(backbone: Backbone) -> None:
    assert spec(backbone, taps=("conv3", "conv1")).digest == spec(backbone, taps=("conv1", "conv3")).digest


@pytest.mark.parametrize("name", FROZEN_TENSORS)
def test_one_bit_of_any_frozen_weight_is_another_store(backbone: Backbone, name: str) -> None:
    before = spec(backbone).digest
    nudge(backbone, name)
    assert spec(backbone).digest != before


@pytest.mark.parametrize("name", THAWED_TENSORS)
def test_weights_above_the_boundary_do_not_matter(backbone: Backbone, name: str) -> None:
    before = spec(backbone).digest
    nudge(backbone, name)
    assert spec(backbone).digest == before
    assert spec(backbone, freeze="conv5").digest != spec(load_backbone("alexnet", "random"), freeze="conv5").digest


def test_every_field_of_the_spec_is_in_the_digest(backbone: Backbone) -> None:
    values = spec(backbone, taps=("conv1",)).to_dict()
    whole = FeatureKey(**values).digest
    other = {
        "tap_grid": TAP_GRID + 1,
        "format": FORMAT_VERSION + 1,
        "weights": "0" * 64,
        "network": "x",
        "freeze": "x",
        "taps": [],
        "dtype": "x",
        "augment": View(1).to_dict(),
    }
    other["preprocess"] = {**values["preprocess"], "crop": "corner"}
    assert set(other) == set(values)
    assert all(FeatureKey(**{**values, name: value}).digest != whole for name, value in other.items())


def test_the_default_mean_and_spread_are_imagenets(backbone: Backbone) -> None:
    assert spec(backbone, preprocess=Preprocess(64, MEAN, STD)).digest == spec(backbone).digest

"""AlexNet equals torchvision's, parameter for parameter."""

import pytest
import torch
from torchvision.models import AlexNet

from frostline.models.alexnet import STAGES, build, published_key


def reference_shapes() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in AlexNet().state_dict().items()}


def test_parameters_are_those_of_the_published_network() -> None:
    assert sum(parameter.numel() for parameter in build(with_classifier=True).parameters()) == 61_100_840


def test_keys_and_shapes_are_those_of_the_reference_in_its_order() -> None:
    ours = {published_key(key): tuple(value.shape) for key, value in build(with_classifier=True).state_dict().items()}
    assert ours == reference_shapes()
    assert list(ours) == list(reference_shapes())


@pytest.mark.parametrize(("number", "last"), list(enumerate(STAGES, start=1)))
def test_only_the_stages_that_are_needed_are_built(number: int, last: str) -> None:
    backbone = build(last)
    assert backbone.stage_names == list(STAGES[:number])
    assert len(backbone.state_dict()) == 2 * number
    assert backbone.classifier is None


def test_building_takes_no_memory_and_starts_in_eval_mode() -> None:
    backbone = build(with_classifier=True)
    assert {parameter.device.type for parameter in backbone.parameters()} == {"meta"}
    assert not any(module.training for module in backbone.modules())


@pytest.mark.parametrize(
    ("ours", "published"),
    [
        ("stages.conv1.0.weight", "features.0.weight"),
        ("stages.conv5.0.bias", "features.10.bias"),
        ("stages.fc6.3.weight", "classifier.1.weight"),
        ("stages.fc7.1.bias", "classifier.4.bias"),
        ("classifier.weight", "classifier.6.weight"),
    ],
)
def test_keys_map_to_those_of_torchvision(ours: str, published: str) -> None:
    assert published_key(ours) == published


@pytest.mark.parametrize(("size", "side"), [(63, 1), (64, 1), (128, 3), (224, 6)])
def test_smallest_image_still_gives_a_map(size: int, side: int) -> None:
    backbone = build("conv5")
    assert backbone.min_image_size == 63
    assert backbone(torch.empty(1, 3, size, size, device="meta")).shape == (1, 256, side, side)


def test_smaller_images_than_the_smallest_do_not_fit() -> None:
    with pytest.raises(RuntimeError, match="too small"):
        build("conv5")(torch.empty(1, 3, 62, 62, device="meta"))

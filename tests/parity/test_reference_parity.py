import pytest
import torch
from torchvision.models import AlexNet

from frostline.models.backbone import Backbone
from tests.parity.measures import largest_gap


def reference_stages(network: AlexNet, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return every stage's output of torchvision's network, cut by hand."""
    outputs = {}
    for name, first, end in (("conv1", 0, 3), ("conv2", 3, 6), ("conv3", 6, 8), ("conv4", 8, 10), ("conv5", 10, 13)):
        x = outputs[name] = network.features[first:end](x)
    x = outputs["fc6"] = network.classifier[:3](torch.flatten(network.avgpool(x), 1))
    outputs["fc7"] = network.classifier[3:6](x)
    return outputs


@pytest.mark.parametrize("size", [63, 64, 96, 128, 224])
@torch.inference_mode()
def test_every_stage_equals_the_reference(reference: AlexNet, backbone: Backbone, size: int) -> None:
    x = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(size))
    expected = reference_stages(reference, x)
    assert list(expected) == backbone.stage_names
    for name, stage in backbone.stages.items():
        x = stage(x)
        assert largest_gap(x, expected[name]) < 1e-5, name


@pytest.mark.parametrize("size", [63, 64, 96, 128, 224])
@torch.inference_mode()
def test_logits_equal_the_reference(reference: AlexNet, backbone: Backbone, size: int) -> None:
    x = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(size))
    logits = backbone(x)
    assert logits.shape == (3, 1000)
    assert largest_gap(logits, reference(x)) < 1e-5
    assert torch.equal(logits.argmax(1), reference(x).argmax(1))


def test_it_is_alexnet_to_the_parameter(reference: AlexNet, backbone: Backbone) -> None:
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 61_100_840
    assert sum(parameter.numel() for parameter in reference.parameters()) == 61_100_840


@torch.inference_mode()
def test_a_smaller_image_than_the_smallest_does_not_fit_the_reference_either(
    reference: AlexNet, backbone: Backbone
) -> None:
    smallest = backbone.min_image_size
    assert reference.features(torch.zeros(1, 3, smallest, smallest)).shape == (1, 256, 1, 1)
    with pytest.raises(RuntimeError, match="too small"):
        reference.features(torch.zeros(1, 3, smallest - 1, smallest - 1))

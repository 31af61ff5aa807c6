"""Loading networks by name: weights depend on the seed, not on the depth."""

import pytest
import torch

from frostline.errors import UnknownNameError, WeightsError
from frostline.models.backbone import WeightsOrigin
from frostline.models.registry import check_digest, load_backbone, outline, rebuild, weights_digest


def test_misspelled_model_error_suggests_the_nearest() -> None:
    for call in (outline, load_backbone):
        with pytest.raises(UnknownNameError) as error:
            call("alexnt")
        assert str(error.value) == (
            "unknown model 'alexnt': expected one of alexnet, efficientnet-lite0, efficientnet-lite1, "
            "efficientnet-lite2, timm:NAME or torchvision:NAME. Did you mean 'alexnet'?"
        )


def test_same_seed_draws_the_same_weights() -> None:
    first, again, other = (load_backbone(weights="random", last="conv3", seed=seed) for seed in (5, 5, 6))
    torch.testing.assert_close(dict(first.state_dict()), dict(again.state_dict()), rtol=0, atol=0)
    for one, two in zip(first.stages.values(), other.stages.values(), strict=True):
        assert not torch.equal(one[0].weight, two[0].weight)
    assert first.origin == again.origin
    assert first.origin is not None
    assert other.origin is not None
    assert first.origin.sha256 != other.origin.sha256


def test_depth_does_not_change_the_stages_below() -> None:
    deep = load_backbone(weights="random", last="conv5").state_dict()
    for last in ("conv1", "conv3"):
        shallow = load_backbone(weights="random", last=last).state_dict()
        for key, value in shallow.items():
            torch.testing.assert_close(value, deep[key], rtol=0, atol=0)


def test_random_weights_leave_the_global_stream_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_backbone(weights="random", last="conv2")
    torch.testing.assert_close(torch.rand(3), expected)


def test_random_weights_keep_activations_in_range() -> None:
    backbone = load_backbone(weights="random")
    torch.manual_seed(0)
    x = torch.randn(4, 3, 128, 128)
    for stage in backbone.stages.values():
        x = stage(x)
        assert 0.1 < x.std() < 10
    assert not any(parameter.count_nonzero() for name, parameter in backbone.named_parameters() if "bias" in name)


def test_default_depth_is_the_feature_stage() -> None:
    backbone = load_backbone(weights="random")
    assert backbone.stage_names[-1] == backbone.feature_stage == "conv5"
    assert not backbone.training
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    first = backbone.stages["conv1"][0].weight
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert first.device.type == "cpu"


def test_whole_network_with_its_head_can_be_initialized() -> None:
    backbone = load_backbone(weights="random", with_classifier=True)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 61_100_840
    assert backbone(torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def test_unknown_stage_is_rejected_before_weights_are_searched() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean"):
        load_backbone(weights="nowhere.pth", last="conv9")


def test_random_weights_record_their_origin() -> None:
    origin = load_backbone(weights="random", last="conv1").origin
    assert origin is not None
    assert origin.name == "random"
    assert len(origin.sha256) == 64
    assert origin.reason == "random (He-initialized) weights, as requested: nothing is pre-trained"


def test_network_is_rebuilt_from_its_own_tensors() -> None:
    first = load_backbone("alexnet", "random", last="conv2")
    again = rebuild("alexnet", "conv2", first.state_dict(), first.origin)
    assert again.stage_names == first.stage_names
    assert again.origin == first.origin
    assert weights_digest(again) == weights_digest(first)


def test_digest_of_weights_sees_a_single_bit_and_not_the_layout() -> None:
    layer = torch.nn.Conv2d(3, 4, 5)
    before = weights_digest(layer)
    assert weights_digest(layer.to(memory_format=torch.channels_last)) == before
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] = torch.nextafter(layer.weight[0, 0, 0, 0], torch.tensor(9.0))
    assert weights_digest(layer) != before


def test_changed_weights_are_rejected_with_an_expected_digest() -> None:
    origin = WeightsOrigin("net.pth", "a" * 64, "as requested")
    check_digest(origin, None)
    check_digest(origin, "a" * 64)
    with pytest.raises(WeightsError) as error:
        check_digest(origin, "b" * 64)
    assert str(error.value) == (
        "the weights 'net.pth' have SHA-256 aaaaaaaaaaaa…, expected bbbbbbbbbbbb…: "
        "the file has changed; restore the old one, or remove weights_sha256 from the configuration."
    )

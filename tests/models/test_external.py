"""`timm:NAME` and `torchvision:NAME`: names, weights from files, and no network access when offline."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from frostline.errors import ConfigError, UnknownNameError, WeightsError
from frostline.models.external import PACKAGES
from frostline.models.registry import find_network, list_networks, load_backbone, outline
from tests.conftest import Server


def test_misspelled_name_error_suggests_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"timm 1\.0\.31 has no network of that name\. Did you mean 'timm:resnet18'\?"
    ):
        outline("timm:resnt18")
    with pytest.raises(ConfigError, match="no model matches 'timm:nothing"):
        list_networks("timm:nothing*")


def test_every_name_that_is_listed_is_one_of_the_package() -> None:
    assert set(list_networks("torchvision:resnet1*")) == {f"torchvision:resnet{depth}" for depth in (18, 101, 152)}
    assert len(list_networks("timm:*")) == len(timm.list_models())


@pytest.mark.parametrize(
    ("short", "full"),
    [("resnet18", "timm:resnet18"), ("resnet18.a1_in1k", "timm:resnet18.a1_in1k"), ("quantized", None)],
)
def test_a_name_without_its_package_is_the_first_package_s(
    short: str, full: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "frostline"):
        if full is None:
            with pytest.raises(UnknownNameError, match=r"timm:NAME or torchvision:NAME\."):
                find_network(short)
        else:
            assert find_network(short).name == full
            other = full.replace("timm", "torchvision")
            assert caplog.messages == [f"model: '{short}' is {full}; {other} is another one, with other weights"]


def test_a_name_of_one_package_alone_needs_no_package() -> None:
    assert find_network("vgg11_bn").name == "timm:vgg11_bn"
    assert find_network("shufflenet_v2_x1_0").name == "torchvision:shufflenet_v2_x1_0"


def test_nearest_name_of_a_package_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model 'resnt18': .* Did you mean 'resnet18'\?"):
        outline("resnt18")


def test_pattern_without_a_package_lists_all() -> None:
    assert list_networks("resnet18") == ["timm:resnet18", "torchvision:resnet18"]


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_state_dict_of_the_package_is_loaded(tmp_path: Path, name: str, ending: str) -> None:
    package, inner = name.split(":")
    network = PACKAGES[package].make(inner, seed=5)
    path = tmp_path / f"net.{ending}"
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}
    counters = {key for key in state if key.endswith("num_batches_tracked")}
    if ending == "pth":  # as files of old are: without counters
        torch.save({key: value for key, value in state.items() if key not in counters}, path)
    else:
        save_file(state, path)
    backbone = load_backbone(name, str(path))
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        ours, theirs = backbone.stages["layer4"], network
        torch.testing.assert_close(theirs.fc(backbone(x)), theirs(x))
    assert not ours.training
    assert backbone.origin is not None
    assert backbone.origin.name == str(path)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    torch.save(PACKAGES["timm"].make("resnet50", seed=0).state_dict(), tmp_path / "net.pth")
    with pytest.raises(
        WeightsError, match=r"does not fit timm:resnet18: 'layer1.0.conv1.weight' is .*looks like resnet50"
    ):
        load_backbone("timm:resnet18", str(tmp_path / "net.pth"))


def test_random_weights_follow_the_seed_alone() -> None:
    first, again, other = (load_backbone("timm:resnet18", "random", seed=seed) for seed in (1, 1, 2))
    assert first.origin is not None and again.origin is not None and other.origin is not None
    assert first.origin.sha256 == again.origin.sha256 != other.origin.sha256
    shallow = load_backbone("timm:resnet18", "random", seed=1, last="layer2")
    assert torch.equal(shallow.state_dict()["stages.layer2.layer2.0.conv1.weight"],
                       first.state_dict()["stages.layer2.layer2.0.conv1.weight"])  # fmt: skip


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
@pytest.mark.parametrize("weights", ["auto", "pretrained"])
def test_missing_pretrained_weights_are_not_requested_offline(name: str, weights: str) -> None:
    with pytest.raises(WeightsError) as error:
        load_backbone(name, weights)
    assert str(error.value) == (
        f"the pretrained weights of {name} are unavailable (FROSTLINE_OFFLINE is set): "
        "pass a file that contains them with --weights PATH, or start from --weights random."
    )


def test_unavailable_weights_error_lists_the_available_ones() -> None:
    with pytest.raises(WeightsError, match="--weights bundled: expected auto, pretrained, random, the folder"):
        load_backbone("timm:resnet18", "bundled")


def test_torchvision_weights_are_downloaded_from_the_mirror_and_checked(server: Server, cache: Path) -> None:
    file = torchvision.models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    (server.folder / file).write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"sent a file with sha256 [0-9a-f]{64}, expected f37072fd"):
        load_backbone("torchvision:resnet18", cache_dir=cache)
    assert server.asked == [f"/{file}"]


@pytest.mark.parametrize(
    ("name", "size", "fixed", "mean", "interpolation"),
    [
        ("timm:vit_small_patch16_224", 224, True, 0.5, "bicubic"),
        ("timm:resnet18", 224, False, 0.485, "bicubic"),
        ("torchvision:efficientnet_b0", 224, False, 0.485, "bicubic"),
        ("torchvision:efficientnet_b1", 240, False, 0.485, "bilinear"),
    ],
)
def test_image_settings_match_the_pretraining(
    name: str, size: int, fixed: bool, mean: float, interpolation: str
) -> None:
    intake = outline(name).intake
    assert (intake.image_size, intake.fixed, intake.interpolation) == (size, fixed, interpolation)
    assert intake.mean is not None
    assert intake.mean[0] == mean


def test_published_weights_are_the_packages_own() -> None:
    offer = find_network("timm:resnet18.a1_in1k").offer
    assert offer.published is not None
    assert (
        repr(offer.published) == "HubFile(repository='timm/resnet18.a1_in1k', file='model.safetensors', revision=None)"
    )

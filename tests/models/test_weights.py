"""Weight files: usual layouts, safe reading, and errors for files that do not fit."""

import argparse
import hashlib
import io
import json
import math
import os
import pickle
import shutil
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from frostline._utils.hashing import sha256_file
from frostline.errors import DownloadError, WeightsError
from frostline.models.alexnet import BUNDLED, IMAGENET, NETWORK
from frostline.models.published import torch_hub_file
from frostline.models.registry import load_backbone
from frostline.models.weights import choose, fitted, nearest_network, read_record, read_state
from tests.conftest import Frostline, Server
from tests.reference import reference_network, save_features

State = dict[str, torch.Tensor]

FEATURE_SHAPES = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
}


@pytest.fixture(scope="module")
def features_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "features.pth"
    save_features(path)
    return path


@pytest.fixture(scope="module")
def features(features_file: Path) -> State:
    return read_state(features_file)


def assert_loaded(path: Path, features: State) -> None:
    """Check that a file contains the reference's features under the network's keys."""
    backbone = load_backbone(weights=str(path))
    ours = list(backbone.state_dict().values())
    assert len(ours) == len(features)
    for tensor, expected in zip(ours, features.values(), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=0, atol=0)
    assert backbone.origin is not None
    assert backbone.origin.name == str(path)
    assert backbone.origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert backbone.origin.reason == f"weights from {path}, as requested"


def test_features_alone_are_loaded(features_file: Path, features: State) -> None:
    assert {key: tuple(value.shape) for key, value in features.items()} == FEATURE_SHAPES
    assert_loaded(features_file, features)


@pytest.mark.parametrize("wrapper", ["bare", "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["features.", "", "module.features.", "net.", "model._orig_mod.features."])
def test_usual_layouts_are_loaded(tmp_path: Path, features: State, wrapper: str, prefix: str) -> None:
    state = {prefix + key.removeprefix("features."): value for key, value in features.items()}
    content = state if wrapper == "bare" else {wrapper: state, "epoch": 3}
    torch.save(content, tmp_path / "net.pth")
    assert_loaded(tmp_path / "net.pth", features)


def test_old_format_of_torch_is_loaded(tmp_path: Path, features: State) -> None:
    torch.save(features, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    assert_loaded(tmp_path / "net.pth", features)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_safetensors_is_recognized_by_content(tmp_path: Path, features: State, name: str) -> None:
    save_file(features, tmp_path / name)
    assert_loaded(tmp_path / name, features)


def test_a_checkpoint_of_lightning_is_loaded(tmp_path: Path, features: State) -> None:
    content = {
        "state_dict": {f"model.{key}": value for key, value in features.items()} | {"head.weight": torch.zeros(3, 4)},
        "hyper_parameters": argparse.Namespace(lr=0.1, name="net"),
        "epoch": 3,
    }
    torch.save(content, tmp_path / "net.ckpt")
    assert_loaded(tmp_path / "net.ckpt", features)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_one_flipped_bit_in_a_pth_is_found(tmp_path: Path, features: State, where: float) -> None:
    path = tmp_path / "net.pth"
    torch.save(features, path)
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 1
    path.write_bytes(data)
    assert "is not a complete .pth file (the checksum of its member 'net/data/" in refusal(path)


def test_format_without_checksums_is_logged(tmp_path: Path, features: State, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(features, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    with caplog.at_level("INFO", "frostline"):
        read_state(tmp_path / "net.pth")
    assert f"{tmp_path / 'net.pth'} is in PyTorch's old format, which has no checksums" in caplog.text


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_weights_that_are_not_finite_are_rejected(tmp_path: Path, features: State, value: float, name: str) -> None:
    broken = features | {"features.3.bias": torch.full((192,), value)}
    save = torch.save if name == "net.pth" else save_file
    save(broken, tmp_path / name)
    with pytest.raises(WeightsError, match=f"{name}: 'features.3.bias' holds NaN or infinite values"):
        load_backbone(weights=str(tmp_path / name))


def test_integer_weights_are_rejected(tmp_path: Path, features: State) -> None:
    save_file(features | {"features.3.bias": torch.zeros(192, dtype=torch.int32)}, tmp_path / "net.safetensors")
    with pytest.raises(WeightsError, match=r"'features\.3\.bias' is torch\.int32, expected torch\.float32"):
        load_backbone(weights=str(tmp_path / "net.safetensors"))


def test_a_pipe_or_device_in_place_of_weights_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.pth")
    for path in (tmp_path / "net.pth", Path("/dev/zero")):
        assert "it is no regular file" in refusal(path)


def test_half_precision_is_widened(tmp_path: Path, features: State) -> None:
    torch.save({key: value.half() for key, value in features.items()}, tmp_path / "net.pth")
    backbone = load_backbone(weights=str(tmp_path / "net.pth"), last="conv1")
    weight = backbone.stages["conv1"][0].weight
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight.detach(), features["features.0.weight"].half().float())


def test_whole_network_is_loaded_to_the_requested_depth(tmp_path: Path) -> None:
    reference = reference_network()
    path = tmp_path / "whole.pth"
    torch.save(reference.state_dict(), path)
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        whole = load_backbone(weights=str(path), with_classifier=True)
        torch.testing.assert_close(whole(x), reference(x), atol=1e-4, rtol=1e-4)
        conv5 = load_backbone(weights=str(path))
        assert len(conv5.state_dict()) == 10
        torch.testing.assert_close(conv5(x), reference.features(x), atol=1e-4, rtol=1e-4)


def test_features_alone_cannot_give_deeper_stages(features_file: Path) -> None:
    with pytest.raises(WeightsError) as error:
        load_backbone(weights=str(features_file), last="fc6")
    assert str(error.value) == (
        f"{features_file} does not fit alexnet: 'classifier.1.weight' of shape (4096, 9216) is missing "
        "(the file looks like alexnet). It holds the features alone: freeze at conv5 or below."
    )


# The first layers of other well-known networks, as torchvision publishes them.
VGG16 = {
    "features.0.weight": torch.zeros(64, 3, 3, 3),
    "features.0.bias": torch.zeros(64),
    "features.2.weight": torch.zeros(64, 64, 3, 3),
    "features.5.weight": torch.zeros(128, 64, 3, 3),
}
RESNET18 = {
    "conv1.weight": torch.zeros(64, 3, 7, 7),
    "bn1.weight": torch.zeros(64),
    "layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3),
    "fc.weight": torch.zeros(1000, 512),
}


def test_wrong_shape_names_key_both_shapes_and_nearest_network(tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    torch.save(VGG16, path)
    with pytest.raises(WeightsError) as error:
        load_backbone(weights=str(path))
    assert str(error.value) == (
        f"{path} does not fit alexnet: 'features.0.weight' is (64, 3, 3, 3), expected (64, 3, 11, 11) "
        "(the file looks like vgg16)."
    )


def test_missing_key_names_its_shape_and_nearest_network(tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    save_file(RESNET18, path)
    with pytest.raises(WeightsError) as error:
        load_backbone(weights=str(path))
    assert str(error.value) == (
        f"{path} does not fit alexnet: 'features.0.weight' of shape (64, 3, 11, 11) is missing "
        "(the file looks like resnet18)."
    )


def test_one_missing_tensor_is_named(features: State) -> None:
    part = {key: value for key, value in features.items() if key != "features.8.bias"}
    with pytest.raises(
        WeightsError, match=r"'features\.8\.bias' of shape \(256,\) is missing \(.* looks like alexnet\)"
    ):
        fitted(part, FEATURE_SHAPES, "alexnet", "net.pth")


@pytest.mark.parametrize(
    ("state", "network"),
    [
        (VGG16, "vgg16"),
        (RESNET18, "resnet18"),
        ({"features.0.weight": torch.zeros(96, 3, 11, 11)}, "alexnet (two towers, as published in 2012)"),
        ({"features.0.weight": torch.zeros(64, 3, 11, 11)}, "alexnet"),
        ({"layers.0.weight": torch.zeros(3)}, "no known network"),
        ({}, "no known network"),
    ],
)
def test_nearest_network_is_recognized_by_a_few_tensors(state: State, network: str) -> None:
    assert nearest_network(state) == network


class Malicious:
    """A malicious pickle: unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, kind: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "net.pth"
    content = {"features.0.weight": torch.zeros(1), "x": Malicious(trap)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"x": Malicious(trap)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError) as error:
        load_backbone(weights=str(path))
    assert not trap.exists()
    assert str(error.value) == (
        f"{path} was not read: it holds more than tensors, and that could run code. "
        "Expected a state dict saved with torch.save(model.state_dict()), or .safetensors."
    )
    if kind == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trap.exists()  # so the trap was armed


def test_pickled_module_is_rejected(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="it holds more than tensors"):
        read_state(tmp_path / "net.pth")


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(2), {0: torch.zeros(2)}, {"a": 3}, 5])
def test_file_without_a_state_dict_is_rejected(tmp_path: Path, content: object) -> None:
    path = tmp_path / "net.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError) as error:
        read_state(path)
    assert str(error.value) == f"{path} holds no state dict: expected a mapping of names to tensors."


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as error:
        read_state(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.00001, 0.0001, 0.01, 0.5, 0.999])
def test_truncated_pth_is_refused_in_one_line(tmp_path: Path, features: State, zipped: bool, share: float) -> None:
    buffer = io.BytesIO()
    torch.save(features, buffer, _use_new_zipfile_serialization=zipped)
    path = tmp_path / "net.pth"
    path.write_bytes(buffer.getvalue()[: int(buffer.tell() * share)])
    assert "is not a complete .pth file" in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.0001, 0.5, 0.999])
def test_truncated_safetensors_is_refused_in_one_line(tmp_path: Path, features: State, share: float) -> None:
    path = tmp_path / "net.safetensors"
    save_file(features, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "is not a complete safetensors file" in refusal(path)


@pytest.mark.parametrize("claimed", [11 << 20, 2**40, 2**64 - 1])
@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_oversized_safetensors_header_is_refused_unread(tmp_path: Path, claimed: int, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(claimed.to_bytes(8, "little") + b"{" + bytes(1000))
    assert refusal(path) == (
        f"{path} is not a complete safetensors file (its header claims {claimed:,} bytes, "
        "and at most 10,485,760 are read): get it again."
    )


@pytest.mark.parametrize(
    "content", [b"just words", b"\x89PNG\r\n\x1a\n" + bytes(50), bytes(100), b"PK\x03\x04" + bytes(99)]
)
def test_foreign_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    assert "is not a complete .pth file" in refusal(path) or "was not read" in refusal(path)


def test_missing_file_error_lists_the_choices() -> None:
    with pytest.raises(WeightsError) as error:
        load_backbone(weights="imagnet")
    assert str(error.value) == (
        "--weights imagnet: expected auto, imagenet, bundled, random, the folder of a run, or an existing .pth or "
        ".safetensors file. Did you mean 'imagenet'?"
    )


def test_folder_is_no_weight_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the folder holds no finished model"):
        load_backbone(weights=str(tmp_path))
    with pytest.raises(WeightsError, match=rf"^{tmp_path} cannot be read \(it is a folder\)"):
        read_state(tmp_path)


# Published weights

NONCE = 4_550_921_902  # found by search: with it, the file below has a SHA-256 that begins with the published digits


def write_look_alike(path: Path) -> None:
    """Write zeros in AlexNet's layout with a SHA-256 that starts like that of the published file."""
    header: dict[str, object] = {}
    end = 0
    for key, shape in FEATURE_SHAPES.items():
        size = 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    header["nonce"] = {"dtype": "I64", "shape": [1], "data_offsets": [end, end + 8]}
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text) + end) % 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end) + NONCE.to_bytes(8, "little"))
    assert sha256_file(path).startswith(IMAGENET.sha256_head)


def test_torch_hub_folder_is_where_torch_puts_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for settings in ({"TORCH_HOME": str(tmp_path)}, {"XDG_CACHE_HOME": str(tmp_path)}, {}):
        for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        assert torch_hub_file("net.pth") == Path(torch.hub.get_dir()) / "checkpoints" / "net.pth"


def test_published_file_in_torch_hub_is_used_first(cache: Path) -> None:
    write_look_alike(torch_hub_file(IMAGENET.file))
    assert IMAGENET.find(cache) == torch_hub_file(IMAGENET.file)
    for wanted, reason in (("imagenet", "as requested"), ("auto", "pre-trained and available")):
        origin = load_backbone(weights=wanted, cache_dir=cache).origin
        assert origin is not None
        assert origin.name == "imagenet"
        assert reason in origin.reason
        assert origin.sha256 == sha256_file(torch_hub_file(IMAGENET.file))


def test_published_file_in_our_cache_is_used(cache: Path) -> None:
    path = cache / "weights" / IMAGENET.file
    write_look_alike(path)
    torch_hub_file(IMAGENET.file).parent.mkdir(parents=True)
    torch_hub_file(IMAGENET.file).write_bytes(b"cut short")
    assert IMAGENET.find() == IMAGENET.get() == path


def test_file_with_another_digest_is_not_the_published_one(cache: Path, features_file: Path) -> None:
    hub = torch_hub_file(IMAGENET.file)
    hub.parent.mkdir(parents=True)
    shutil.copy(features_file, hub)
    assert IMAGENET.find(cache) is None
    with pytest.raises(
        DownloadError, match=f"{IMAGENET.file} is not here and FROSTLINE_OFFLINE forbids downloading it"
    ):
        load_backbone(weights="imagenet", cache_dir=cache)
    name, path, _ = choose("auto", NETWORK.offer, cache)
    assert (name, path) == ("bundled", BUNDLED)
    assert hub.exists()


def test_published_file_is_downloaded_once(server: Server, cache: Path) -> None:
    write_look_alike(server.folder / IMAGENET.file)
    for _ in range(2):
        assert IMAGENET.get(cache) == cache / "weights" / IMAGENET.file
    assert server.asked == [f"/{IMAGENET.file}"]


def test_wrong_download_is_rejected_and_removed(server: Server, cache: Path, features_file: Path) -> None:
    shutil.copy(features_file, server.folder / IMAGENET.file)
    with pytest.raises(
        DownloadError, match=rf"sent a file with sha256 {sha256_file(features_file)}, expected 7be5be79"
    ):
        load_backbone(weights="imagenet", cache_dir=cache)
    assert list((cache / "weights").iterdir()) == []


def auto_reason(cache: Path) -> str:
    """The reason why ``auto`` did not choose the ImageNet weights."""
    backbone = load_backbone(weights="auto", last="conv1", cache_dir=cache)
    assert backbone.origin is not None
    assert backbone.origin.name == "bundled"
    assert "bundled weights (ImageNet weights unavailable: " in backbone.origin.reason
    assert "\n" not in backbone.origin.reason
    return backbone.origin.reason


def test_auto_reports_offline_mode(cache: Path) -> None:
    assert "(ImageNet weights unavailable: FROSTLINE_OFFLINE is set)" in auto_reason(cache)


def test_auto_reports_an_unreachable_server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.delenv("FROSTLINE_OFFLINE")
    monkeypatch.setenv("FROSTLINE_MIRROR", nobody)
    assert f"(ImageNet weights unavailable: {nobody}/{IMAGENET.file}: not reachable)" in auto_reason(cache)


def test_auto_reports_a_missing_file(server: Server, cache: Path) -> None:
    assert f"(ImageNet weights unavailable: {server.address}/{IMAGENET.file}: answered 404)" in auto_reason(cache)


def test_auto_reports_a_wrong_file(server: Server, cache: Path) -> None:
    (server.folder / IMAGENET.file).write_bytes(b"something else")
    assert "sent a file with sha256" in auto_reason(cache)
    assert list((cache / "weights").iterdir()) == []


def test_nothing_is_unpickled_by_the_command_line_either(frostline: Frostline, tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "net.pth"
    path.write_bytes(pickle.dumps(Malicious(trap)))
    done = frostline("train", "fashion-mnist", "--weights", path, "--limit", 120)
    assert done.returncode == 2
    assert done.stderr.startswith(f"frostline: {path} was not read: it holds more than tensors")
    assert done.stderr.count("\n") == 1
    assert not trap.exists()


def test_bundled_weights_are_small_halves_of_the_five_convolutions() -> None:
    state = read_state(BUNDLED)
    assert BUNDLED.stat().st_size <= 5.2e6
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert set(state) == {f"features.{layer}.{part}" for layer in (0, 3, 6, 8, 10) for part in ("weight", "bias")}
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_bundled_weights_load_as_they_are() -> None:
    backbone = load_backbone(weights="bundled")
    assert backbone.origin is not None
    assert (backbone.origin.name, backbone.origin.sha256) == ("bundled", sha256_file(BUNDLED))
    assert torch.equal(backbone.stages["conv3"][0].weight, read_state(BUNDLED)["features.6.weight"].float())


def test_bundled_weights_have_no_fully_connected_stages() -> None:
    with pytest.raises(WeightsError, match="holds the features alone: freeze at conv5 or below"):
        load_backbone(weights="bundled", last="fc7")


def test_bundled_weights_tell_how_they_were_made() -> None:
    record = read_record(BUNDLED)
    assert record["images"] > 1_000_000
    assert record["history"][-1]["held_out_accuracy"] > 0.9


def test_the_card_names_the_digest_and_the_images() -> None:
    card = BUNDLED.with_name("README.md").read_text(encoding="utf-8")
    assert sha256_file(BUNDLED) in card
    assert f"{read_record(BUNDLED)['images']:,}" in card


def test_a_file_without_a_record_is_rejected(features_file: Path) -> None:
    with pytest.raises(WeightsError, match="contains no record of a pre-training"):
        read_record(features_file)

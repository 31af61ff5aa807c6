"""Where pre-trained weights come from, and reading them without ever running what is in the file."""

import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from frostline.download import download, offline
from frostline.errors import DownloadError, WeightsError, did_you_mean, first_line
from frostline.hashing import sha256_file
from frostline.progress import Progress
from frostline.storage import cache_dir

IMAGENET_URLS = ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",)
IMAGENET_FILE = "alexnet-owt-7be5be79.pth"
IMAGENET_SHA256_HEAD = "7be5be79"
BUNDLED = Path(__file__).parent / "bundled" / "alexnet.safetensors"  # the convolutions; see the card beside it
RECORD = "frostline"  # key, in a safetensors file's metadata, of how `frostline pretrain` made it
WORDS = ("auto", "imagenet", "bundled", "random")
MAX_HEADER_BYTES = 10 << 20  # a network of a few hundred tensors needs kilobytes

State = dict[str, torch.Tensor]

# A few tensors that tell well-known networks of torchvision and timm apart.
SIGNATURES: dict[str, dict[str, tuple[int, ...]]] = {
    "alexnet": {"features.0.weight": (64, 3, 11, 11), "features.3.weight": (192, 64, 5, 5)},
    "alexnet (two towers, as published in 2012)": {"features.0.weight": (96, 3, 11, 11)},
    "vgg11": {"features.0.weight": (64, 3, 3, 3), "features.3.weight": (128, 64, 3, 3)},
    "vgg16": {"features.0.weight": (64, 3, 3, 3), "features.2.weight": (64, 64, 3, 3)},
    "squeezenet1_0": {"features.0.weight": (96, 3, 7, 7), "features.3.squeeze.weight": (16, 96, 1, 1)},
    "squeezenet1_1": {"features.0.weight": (64, 3, 3, 3), "features.3.squeeze.weight": (16, 64, 1, 1)},
    "resnet18": {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 3, 3), "fc.weight": (1000, 512)},
    "resnet50": {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 1, 1), "fc.weight": (1000, 2048)},
    "mobilenet_v3_large": {"features.0.0.weight": (16, 3, 3, 3), "classifier.0.weight": (1280, 960)},
    "efficientnet_b0": {"features.0.0.weight": (32, 3, 3, 3), "classifier.1.weight": (1000, 1280)},
    "convnext_tiny": {"features.0.0.weight": (96, 3, 4, 4)},
    "vit": {"patch_embed.proj.weight": (384, 3, 16, 16)},
}


def torch_hub_file(name: str) -> Path:
    """Return where torch hub would have put a downloaded file."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(home).expanduser() / "hub" / "checkpoints" / name


def find_imagenet(cache: Path | None = None) -> Path | None:
    """Return torchvision's published file when torch hub or Frostline has it, else ``None``.

    A file whose SHA-256 is not the published one is no such file.
    """
    for path in (torch_hub_file(IMAGENET_FILE), _imagenet_store(cache)):
        if path.is_file() and sha256_file(path).startswith(IMAGENET_SHA256_HEAD):
            return path
    return None


def _imagenet_store(cache: Path | None) -> Path:
    return cache_dir(cache) / "weights" / IMAGENET_FILE


def get_imagenet(cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Return torchvision's published file, downloading it (233 MB) when it is not here.

    Raises
    ------
    DownloadError
    """
    found = find_imagenet(cache)
    if found is not None:
        return found
    target = _imagenet_store(cache)
    return download(IMAGENET_URLS, target, algorithm="sha256", digest_head=IMAGENET_SHA256_HEAD, progress=progress)


def choose(wanted: str, cache: Path | None = None, progress: Progress | None = None) -> tuple[str, Path | None, str]:
    """Decide which weights are used.

    Parameters
    ----------
    wanted : str
        ``auto``, ``imagenet``, ``bundled``, ``random`` or a file.
    cache : Path, optional
        Frostline's cache folder.
    progress : Progress, optional
        Draws the download.

    Returns
    -------
    name, path, reason : str, Path or None, str
        The name to record, the file to read (``None`` for random) and one plain line that says why.

    Raises
    ------
    WeightsError, DownloadError
        When what was asked for by name cannot be had; ``auto`` takes the bundled ones instead.
    """
    if wanted == "imagenet":
        return "imagenet", get_imagenet(cache, progress), "ImageNet weights, as asked"
    if wanted == "bundled":
        return "bundled", BUNDLED, "the weights that ship with Frostline, as asked"
    if wanted == "random":
        return "random", None, "random (He-initialised) weights, as asked: nothing is pre-trained"
    if wanted != "auto":
        return wanted, _existing(wanted), f"weights from {wanted}, as asked"
    try:
        return "imagenet", get_imagenet(cache, progress), "ImageNet weights: pre-trained and here"
    except DownloadError as error:
        why = "FROSTLINE_OFFLINE is set" if offline() else str(error).split(" (", 1)[-1].split("). ")[0]
    return "bundled", BUNDLED, f"the weights that ship with Frostline, because ImageNet's cannot be had ({why})"


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    hint = did_you_mean(name, WORDS)
    raise WeightsError(f"--weights {name}: expected {', '.join(WORDS)} or an existing .pth or .safetensors file.{hint}")


def read_state(path: Path) -> State:
    """Read the tensors of a ``.safetensors`` or ``.pth`` file; nothing in it is run.

    Wrappers (``state_dict``, ``model``) and the prefix ``module.`` are taken off.

    Raises
    ------
    WeightsError
        When it is neither, is damaged, or holds more than tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    safe = path.suffix == ".safetensors" or head[8:] == b"{"
    state = _read_safetensors(path, head) if safe else _read_pth(path)
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _read_safetensors(path: Path, head: bytes) -> State:
    from safetensors.torch import load_file

    if int.from_bytes(head[:8], "little") > MAX_HEADER_BYTES:
        raise WeightsError(f"{path} is no weight file: its header claims more than {MAX_HEADER_BYTES:,} bytes.")
    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is no whole safetensors file ({error}): get it again.") from error


def read_record(path: Path) -> dict[str, Any]:
    """Return how `frostline pretrain` made a weight file: recipe, pictures seen, minutes, device, history.

    Raises
    ------
    WeightsError
        When there is no such record inside.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            record: dict[str, Any] = json.loads(file.metadata()[RECORD])
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has no record of a pre-training by Frostline inside.") from error
    return record


def _read_pth(path: Path) -> State:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on pickle protocols; the file is judged below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} was not read: it holds more than tensors, and that could run code. "
            "Expected a state dict saved with torch.save(model.state_dict()), or .safetensors."
        ) from error
    except Exception as error:  # torch.load raises many kinds for damaged files
        raise WeightsError(f"{path} is no whole .pth file ({first_line(error)}): get it again.") from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise WeightsError(f"{path} holds no state dict: expected a mapping of names to tensors.")
    return dict(loaded)


def nearest_network(state: Mapping[str, torch.Tensor]) -> str:
    """Return the known network that a state dict resembles most, or ``"no known network"``."""

    def score(signature: Mapping[str, tuple[int, ...]]) -> float:
        hits = sum(key in state and tuple(state[key].shape) == shape for key, shape in signature.items())
        return hits / len(signature)

    best = max(SIGNATURES, key=lambda name: score(SIGNATURES[name]))
    return best if score(SIGNATURES[best]) > 0 else "no known network"


def fitted(state: State, wanted: Mapping[str, tuple[int, ...]], network: str, source: str) -> State:
    """Return exactly the wanted tensors, as float32.

    Parameters
    ----------
    state : dict of str to Tensor
        The file's tensors: the whole network, or its feature layers alone (``features.0.weight`` or ``0.weight``).
    wanted : mapping of str to shape
        Keys of the published layout and the shapes they must have.
    network, source : str
        Named in the error.

    Raises
    ------
    WeightsError
        Naming the key, both shapes and the nearest known network.
    """
    if "features.0.weight" not in state and "0.weight" in state:
        state = {f"features.{key}": tensor for key, tensor in state.items()}
    chosen = {}
    for key, shape in wanted.items():
        if key not in state:
            alone = key.startswith("classifier.") and "features.0.weight" in state
            hint = " It holds the features alone: freeze at conv5 or below." if alone else ""
            raise WeightsError(
                f"{source} does not fit {network}: '{key}' of shape {shape} is missing "
                f"(the file looks like {nearest_network(state)}).{hint}"
            )
        if tuple(state[key].shape) != shape:
            raise WeightsError(
                f"{source} does not fit {network}: '{key}' is {tuple(state[key].shape)}, expected {shape} "
                f"(the file looks like {nearest_network(state)})."
            )
        chosen[key] = state[key].to(torch.float32)
    return chosen

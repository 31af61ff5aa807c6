"""The registry's description of a network, the choice of its weights, and safe reading of weight files."""

import argparse
import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import safetensors
import torch
from pydantic import BaseModel, Field

from frostline._utils.download import offline
from frostline._utils.files import (
    MAX_TENSOR_FILE_BYTES,
    fit_schema,
    open_file,
    parse_json,
    read_bytes,
    read_tensors,
    reading,
)
from frostline._utils.hashing import digest_file
from frostline._utils.manifest import read_manifest
from frostline._utils.progress import Progress, log
from frostline.errors import DownloadError, WeightsError, did_you_mean, first_line
from frostline.models.backbone import Backbone
from frostline.models.published import Published

State = dict[str, torch.Tensor]

DESCRIPTION, TENSORS = "model.json", "model.safetensors"  # files of a bundle
RECORD = "frostline"  # metadata key of a safetensors file under which `tools.pretraining` records how it was made
REMEDY = "copy it again, or choose other --weights"

# A few tensors that distinguish well-known networks of torchvision and timm.
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


@dataclass(frozen=True)
class Offer:
    """The weights available for a network.

    Attributes
    ----------
    network : str
        The network's name.
    word : str
        The value of `--weights` for the published pre-trained weights.
    published : Published or None
        Pre-trained weights published by others.
    bundled : Path or None
        Pre-trained weights in this package.
    random : str
        How random weights are drawn.
    license : str
        What is known about origin and license of the published weights, in sentences.
    """

    network: str
    word: str
    published: Published | None
    bundled: Path | None = None
    random: str = "random weights (the network's own initialization)"
    license: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The values of ``--weights`` other than paths."""
        return ("auto", self.word, "bundled", "random") if self.bundled else ("auto", self.word, "random")


class Build(Protocol):
    """Builds the stages up to ``last`` (all of them by default), and the pre-trained head on request.

    ``seed`` draws the values. Without it they are undefined, and may not exist (torch's meta device).
    """

    def __call__(self, last: str | None = None, *, with_classifier: bool = False, seed: int | None = None) -> Backbone:
        """Return the network."""


@dataclass(frozen=True)
class Network:
    """An entry of the registry.

    Attributes
    ----------
    name : str
        The network's name for `--model`.
    outline : callable
        Returns the whole network without values, pre-trained head included.
    build : Build
    published_key : callable
        Maps a key of our state dict (``stages.conv1.0.weight``) to the published one.
    offer : Offer
    """

    name: str
    outline: Callable[[], Backbone]
    build: Build
    published_key: Callable[[str], str]
    offer: Offer


def choose(
    wanted: str, offer: Offer, cache: Path | None = None, progress: Progress | None = None
) -> tuple[str, Path | None, str]:
    """Choose the weights to load.

    Parameters
    ----------
    wanted : str
        One of the offer's words, a file, or the folder of a run or bundle.
    offer : Offer
    cache : Path, optional
        Frostline's cache folder.
    progress : Progress, optional
        Displays the download.

    Returns
    -------
    name, path, reason : str, Path or None, str
        The name to record, the file or run folder to read (``None`` for random weights), and the reason in one line.

    Raises
    ------
    WeightsError, DownloadError
        If weights requested by name are unavailable; ``auto`` falls back to bundled weights if there are any.
    """
    title = "ImageNet weights" if offer.word == "imagenet" else f"the {offer.word} weights of {offer.network}"
    if wanted == "random":
        return "random", None, f"{offer.random}, as requested: nothing is pre-trained"
    if wanted == "bundled" and offer.bundled:
        return "bundled", offer.bundled, "bundled weights, as requested"
    if wanted == offer.word and offer.bundled and offer.published:
        return offer.word, offer.published.get(cache, progress), f"{title}, as requested"
    if wanted not in ("auto", offer.word):
        path = _existing(wanted, offer.words)
        what = f"the stages of run '{path.absolute().name}'" if path.is_dir() else f"weights from {wanted}"
        return wanted, path, f"{what}, as requested"
    problem = "none are published"
    if offer.published is not None:
        try:
            return offer.word, offer.published.get(cache, progress), f"{title}: pre-trained and available"
        except DownloadError as error:
            problem = "FROSTLINE_OFFLINE is set" if offline() else str(error).split(" (", 1)[-1].split("). ")[0]
    if offer.bundled is None:
        raise WeightsError(
            f"{title} are unavailable ({problem}): pass a file that contains them with --weights PATH, "
            "or start from --weights random."
        )
    return "bundled", offer.bundled, f"bundled weights (ImageNet weights unavailable: {problem})"


def _existing(name: str, words: Iterable[str]) -> Path:
    path = Path(name).expanduser()
    if path.is_file() or (path.is_dir() and find_bundle(path)):
        return path
    if path.is_dir():
        raise WeightsError(f"--weights {name}: the folder holds no finished model: pass a run's folder, or a file.")
    raise WeightsError(
        f"--weights {name}: expected {', '.join(words)}, the folder of a run, or an existing .pth or .safetensors "
        f"file.{did_you_mean(name, words)}"
    )


def find_bundle(folder: Path) -> Path | None:
    """Return the bundle in a run's folder, or the folder itself if it is a bundle."""
    return next((place for place in (folder / "model", folder) if (place / DESCRIPTION).is_file()), None)


class _Boundary(BaseModel):
    end: str


class _BundleDescription(BaseModel):
    network: str
    boundary: _Boundary
    blake2b: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


def read_stages(bundle: Path, network: str) -> State:
    """Return the tensors of a trained model's stages, by their names in `Backbone`.

    Raises
    ------
    WeightsError
        If they belong to another network, or the bundle is damaged.
    """
    path = bundle / TENSORS
    with reading(bundle / DESCRIPTION, WeightsError, REMEDY):
        manifest = read_manifest(bundle, REMEDY)
        content = read_bytes(bundle / DESCRIPTION) if manifest is None else manifest.read(DESCRIPTION)
    description = fit_schema(_BundleDescription, content, bundle / DESCRIPTION, WeightsError, REMEDY)
    if description.network != network:
        raise WeightsError(
            f"{bundle} is a model of {description.network}, not of {network}: "
            f"use --model {description.network}, or other --weights."
        )
    with reading(path, WeightsError, REMEDY):
        tensors, _ = read_tensors(path)
        digest = digest_file(path)
    if digest != description.blake2b:
        raise WeightsError(f"{path} is damaged (its checksum is wrong): {REMEDY}.")
    return {key: tensor for key, tensor in tensors.items() if key.startswith("stages.")}


def read_state(path: Path, *, verified: bool = False) -> State:
    """Read the tensors of a ``.safetensors`` or ``.pth`` file without running any code in it.

    Wrappers (``state_dict``, ``model``) are removed. ``verified`` tells that the file's digest equals the published
    one.

    Raises
    ------
    WeightsError
        If the file has another format, is damaged, or contains more than tensors.
    """
    with (
        reading(path, WeightsError, "pass a .pth or .safetensors file"),
        open_file(path, MAX_TENSOR_FILE_BYTES) as file,
    ):
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        try:
            return read_tensors(path)[0]
        except Exception as error:  # the parser raises many kinds for damaged headers
            raise WeightsError(
                f"{path} is not a complete safetensors file ({first_line(error)}): get it again."
            ) from error
    zipped = head.startswith(b"PK\3\4")
    if not zipped and not verified:
        log.info("%s is in PyTorch's old format, which has no checksums: damage cannot be detected", path)
    return _read_pth(path, zipped=zipped)


def _read_pth(path: Path, *, zipped: bool) -> State:
    try:
        if zipped:
            _check_members(path)
        # Training programs save their options with the weights. A Namespace holds plain values and runs no code.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # torch's remarks on pickle protocols
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} was not read: it holds more than tensors, and that could run code. "
            "Expected a state dict saved with torch.save(model.state_dict()), or .safetensors."
        ) from error
    except Exception as error:  # torch.load raises many kinds for damaged files
        raise WeightsError(f"{path} is not a complete .pth file ({first_line(error)}): get it again.") from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise WeightsError(f"{path} holds no state dict: expected a mapping of names to tensors.")
    return dict(loaded)


def _check_members(path: Path) -> None:
    """Verify the checksums of a ``.pth`` file's members, which torch ignores; raise ValueError or BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("its members are compressed, which torch never does")
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of its member {damaged!r} is wrong")


def read_record(path: Path) -> dict[str, Any]:
    """Return how `tools.pretraining` made a weight file: recipe, images, minutes, device, history.

    Raises
    ------
    WeightsError
        If the file contains no such record.
    """
    try:
        record: dict[str, Any] = parse_json(read_tensors(path)[1][RECORD].encode())
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} contains no record of a pre-training by Frostline.") from error
    return record


def fitted(state: State, wanted: Mapping[str, tuple[int, ...]], network: str, source: str) -> State:
    """Return exactly the wanted tensors, floating-point ones as float32.

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
        Names the key, both shapes and the nearest known network.
    """
    original = state
    state = without_prefix(state, {*wanted, *(key.removeprefix("features.") for key in wanted)}, len(wanted))
    if "features.0.weight" in wanted and "features.0.weight" not in state and "0.weight" in state:
        state = {f"features.{key}": tensor for key, tensor in state.items()}
    chosen = {}
    for key, shape in wanted.items():
        if key not in state and key.endswith("num_batches_tracked"):
            chosen[key] = torch.tensor(0)  # a counter that old files lack
            continue
        if key not in state:
            features_only = network == "alexnet" and key.startswith("classifier.") and "features.0.weight" in state
            hint = " It holds the features alone: freeze at conv5 or below." if features_only else ""
            raise WeightsError(
                f"{source} does not fit {network}: '{key}' of shape {shape} is missing "
                f"(the file looks like {nearest_network(original)}).{hint}"
            )
        if tuple(state[key].shape) != shape:
            raise WeightsError(
                f"{source} does not fit {network}: '{key}' is {tuple(state[key].shape)}, expected {shape} "
                f"(the file looks like {nearest_network(state)})."
            )
        chosen[key] = state[key].to(torch.float32) if state[key].is_floating_point() else state[key]
        if not chosen[key].isfinite().all():
            raise WeightsError(f"{source}: '{key}' holds NaN or infinite values: get the weights again.")
    return chosen


def without_prefix(state: State, wanted: Iterable[str], least: int) -> State:
    """Return a state without the prefix, such as ``module.`` or ``model._orig_mod.``, of its wanted keys.

    Programs that wrap a network (Lightning, DataParallel, torch.compile) prepend such prefixes. A state with fewer than
    half of ``least`` wanted keys behind one prefix belongs to another network and is returned unchanged.
    """
    names = set(wanted)
    hits = Counter(key[:at] for key in state for at in _part_starts(key) if key[at:] in names)
    prefix = max(hits, key=lambda prefix: (hits[prefix], -len(prefix)), default="")
    if not prefix or 2 * hits[prefix] < least:
        return state
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def _part_starts(key: str) -> list[int]:
    return [0, *(at + 1 for at, letter in enumerate(key) if letter == ".")]


def nearest_network(state: Mapping[str, torch.Tensor]) -> str:
    """Return the known network that a state dict resembles most, or ``"no known network"``."""

    def score(signature: Mapping[str, tuple[int, ...]]) -> float:
        hits = sum(key in state and tuple(state[key].shape) == shape for key, shape in signature.items())
        return hits / len(signature)

    best = max(SIGNATURES, key=lambda name: score(SIGNATURES[name]))
    return best if score(SIGNATURES[best]) > 0 else "no known network"

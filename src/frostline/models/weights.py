"""Where pre-trained weights come from, and reading them without ever running what is in the file."""

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

DESCRIPTION, TENSORS = "model.json", "model.safetensors"
REMEDY = "copy it again, or give other --weights"


class _Boundary(BaseModel):
    end: str


class _BundleDescription(BaseModel):
    network: str
    boundary: _Boundary
    blake2b: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


def find_bundle(folder: Path) -> Path | None:
    """Return the folder of the model in a run's folder, or in a bundle's own."""
    return next((place for place in (folder / "model", folder) if (place / DESCRIPTION).is_file()), None)


def read_stages(bundle: Path, network: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a trained model's stages, by the names that they have in their `Backbone`.

    Parameters
    ----------
    bundle : Path
    network : str
        Whose they must be.

    Raises
    ------
    WeightsError
        When they are another network's, or the bundle is damaged.
    """
    path = bundle / TENSORS
    with reading(bundle / DESCRIPTION, WeightsError, REMEDY):
        manifest = read_manifest(bundle, REMEDY)
        about = read_bytes(bundle / DESCRIPTION) if manifest is None else manifest.read(DESCRIPTION)
    description = fit_schema(_BundleDescription, about, bundle / DESCRIPTION, WeightsError, REMEDY)
    if description.network != network:
        raise WeightsError(
            f"{bundle} is a model of {description.network}, and {network} is asked for: "
            f"give --model {description.network}, or other --weights."
        )
    with reading(path, WeightsError, REMEDY):
        tensors, _ = read_tensors(path)
        digest = digest_file(path)
    if digest != description.blake2b:
        raise WeightsError(f"{path} is damaged (its checksum is wrong): {REMEDY}.")
    return {key: tensor for key, tensor in tensors.items() if key.startswith("stages.")}


RECORD = "frostline"  # key, in a safetensors file's metadata, of how `tools.pretraining` made it

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


@dataclass(frozen=True)
class Offer:
    """Which weights a network can begin with.

    Parameters
    ----------
    network : str
        Its name.
    word : str
        What `--weights` calls the pre-trained ones that others published.
    published : Published or None
    bundled : Path or None
        Pre-trained weights in the package.
    random : str
        How random ones are drawn.
    license : str
        What is known of the origin and license of the published ones, in sentences.
    """

    network: str
    word: str
    published: Published | None
    bundled: Path | None = None
    random: str = "random weights (the network's own initialization)"
    license: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """What ``--weights`` may say beside a file's name."""
        return ("auto", self.word, "bundled", "random") if self.bundled else ("auto", self.word, "random")


def choose(
    wanted: str, offer: Offer, cache: Path | None = None, progress: Progress | None = None
) -> tuple[str, Path | None, str]:
    """Decide which weights are used.

    Parameters
    ----------
    wanted : str
        One of the offer's words, a file, or the folder of a run or bundle.
    offer : Offer
        The network's.
    cache : Path, optional
        Frostline's cache folder.
    progress : Progress, optional
        Draws the download.

    Returns
    -------
    name, path, reason : str, Path or None, str
        The name to record, the file or run folder to read (``None`` for random) and one plain line that says why.

    Raises
    ------
    WeightsError, DownloadError
        When weights requested by name are unavailable; ``auto`` takes the bundled ones instead, where there are some.
    """
    called = "ImageNet weights" if offer.word == "imagenet" else f"the {offer.word} weights of {offer.network}"
    if wanted == "random":
        return "random", None, f"{offer.random}, as asked: nothing is pre-trained"
    if wanted == "bundled" and offer.bundled:
        return "bundled", offer.bundled, "bundled weights, as requested"
    if wanted == offer.word and offer.bundled and offer.published:
        return offer.word, offer.published.get(cache, progress), f"{called}, as asked"
    if wanted not in ("auto", offer.word):
        found = _existing(wanted, offer.words)
        what = f"the stages of run '{found.absolute().name}'" if found.is_dir() else f"weights from {wanted}"
        return wanted, found, f"{what}, as asked"
    why = "none are published"
    if offer.published is not None:
        try:
            return offer.word, offer.published.get(cache, progress), f"{called}: pre-trained and here"
        except DownloadError as error:
            why = "FROSTLINE_OFFLINE is set" if offline() else str(error).split(" (", 1)[-1].split("). ")[0]
    if offer.bundled is None:
        raise WeightsError(
            f"{called} are unavailable ({why}): give a file that has them with --weights PATH, "
            "or begin with --weights random."
        )
    return "bundled", offer.bundled, f"bundled weights (ImageNet weights unavailable: {why})"


def _existing(name: str, words: Iterable[str]) -> Path:
    path = Path(name).expanduser()
    if path.is_file() or (path.is_dir() and find_bundle(path)):
        return path
    if path.is_dir():
        raise WeightsError(f"--weights {name}: the folder holds no finished model: give a run's folder, or a file.")
    hint = did_you_mean(name, words)
    raise WeightsError(
        f"--weights {name}: expected {', '.join(words)}, the folder of a run, or an existing .pth or .safetensors "
        f"file.{hint}"
    )


def read_state(path: Path, *, verified: bool = False) -> State:
    """Read the tensors of a ``.safetensors`` or ``.pth`` file; nothing in it is run.

    Wrappers (``state_dict``, ``model``) are taken off. ``verified`` says that the file's digest was compared with the
    published one.

    Raises
    ------
    WeightsError
        When it is neither, is damaged, or holds more than tensors.
    """
    with (
        reading(path, WeightsError, "give a .pth or .safetensors file"),
        open_file(path, MAX_TENSOR_FILE_BYTES) as file,
    ):
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        return _read_safetensors(path)
    zipped = head.startswith(b"PK\3\4")
    if not zipped and not verified:
        log.info("%s is in PyTorch's old format, which has no checksums: damage cannot be detected", path)
    return _read_pth(path, zipped=zipped)


def _read_safetensors(path: Path) -> State:
    try:
        return read_tensors(path)[0]
    except Exception as error:  # a damaged header leads the parser to many kinds
        raise WeightsError(f"{path} is no whole safetensors file ({first_line(error)}): get it again.") from error


def read_record(path: Path) -> dict[str, Any]:
    """Return how `tools.pretraining` made a weight file: recipe, images seen, minutes, device, history.

    Raises
    ------
    WeightsError
        When there is no such record inside.
    """
    try:
        record: dict[str, Any] = parse_json(read_tensors(path)[1][RECORD].encode())
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has no record of a pre-training by Frostline inside.") from error
    return record


def _read_pth(path: Path, *, zipped: bool) -> State:
    try:
        # Training programs keep their options beside the weights. A Namespace holds plain values and runs nothing.
        if zipped:
            _check_members(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
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


def _check_members(path: Path) -> None:
    """Compare the checksums of a ``.pth`` file's members, which torch does not look at.

    Raises
    ------
    ValueError
        Or what `zipfile` raises.
    """
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("its members are compressed, which torch never does")
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of its member {damaged!r} is wrong")


def without_prefix(state: State, wanted: Iterable[str], least: int) -> State:
    """Return a state without the one prefix, such as ``module.`` or ``model._orig_mod.``, that hides wanted keys.

    Programs that wrap a network (Lightning, DataParallel, torch.compile) put such prefixes before its names. With less
    than half of ``least`` wanted keys behind one prefix, the state is another network's, and stays as it is.
    """
    names = set(wanted)
    hits = Counter(key[:at] for key in state for at in _starts(key) if key[at:] in names)
    prefix = max(hits, key=lambda prefix: (hits[prefix], -len(prefix)), default="")
    if not prefix or 2 * hits[prefix] < least:
        return state
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def _starts(key: str) -> list[int]:
    """Return where the parts of a dotted name begin."""
    return [0, *(at + 1 for at, letter in enumerate(key) if letter == ".")]


def nearest_network(state: Mapping[str, torch.Tensor]) -> str:
    """Return the known network that a state dict resembles most, or ``"no known network"``."""

    def score(signature: Mapping[str, tuple[int, ...]]) -> float:
        hits = sum(key in state and tuple(state[key].shape) == shape for key, shape in signature.items())
        return hits / len(signature)

    best = max(SIGNATURES, key=lambda name: score(SIGNATURES[name]))
    return best if score(SIGNATURES[best]) > 0 else "no known network"


def fitted(state: State, wanted: Mapping[str, tuple[int, ...]], network: str, source: str) -> State:
    """Return exactly the wanted tensors; numbers with a point as float32.

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
    whole = state
    state = without_prefix(state, {*wanted, *(key.removeprefix("features.") for key in wanted)}, len(wanted))
    if "features.0.weight" in wanted and "features.0.weight" not in state and "0.weight" in state:
        state = {f"features.{key}": tensor for key, tensor in state.items()}
    chosen = {}
    for key, shape in wanted.items():
        if key not in state and key.endswith("num_batches_tracked"):
            chosen[key] = torch.tensor(0)  # a counter that files of old do not have
            continue
        if key not in state:
            alone = network == "alexnet" and key.startswith("classifier.") and "features.0.weight" in state
            hint = " It holds the features alone: freeze at conv5 or below." if alone else ""
            raise WeightsError(
                f"{source} does not fit {network}: '{key}' of shape {shape} is missing "
                f"(the file looks like {nearest_network(whole)}).{hint}"
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


class Build(Protocol):
    """Builds the stages up to ``last`` (all of them when left out), with the pre-trained head only when asked for.

    With a seed the values are drawn; without one they mean nothing, and there may be none (torch's meta device).
    """

    def __call__(self, last: str | None = None, *, with_classifier: bool = False, seed: int | None = None) -> Backbone:
        """Return the network."""


@dataclass(frozen=True)
class Network:
    """An entry of the registry.

    Parameters
    ----------
    name : str
        What `--model` calls it.
    outline : callable
        Gives the whole network without values, its pre-trained head included.
    build : Build
    published_key : callable
        Where a tensor of ours (``stages.conv1.0.weight``) stands in the published state dict.
    offer : Offer
        The weights that there are.
    """

    name: str
    outline: Callable[[], Backbone]
    build: Build
    published_key: Callable[[str], str]
    offer: Offer

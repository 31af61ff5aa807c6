"""The deployable model: safetensors for the numbers, JSON for everything else; no pickle.

model/model.json          network, boundary, preprocessing, head, class names, weights' origin
model/model.safetensors   "stages.*": every stage that runs; "head.*": the trained head
model/MODEL_CARD.md       the same for people, with the results (`frostline.runs.card`)
"""

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save
from torch import nn

from frostline import __version__
from frostline.errors import RunError, UnknownNameError, first_line
from frostline.evaluation.rejection import Rejection
from frostline.hashing import digest_file
from frostline.images.preprocess import Preprocess
from frostline.networks.backbone import GIVEN, Backbone, WeightsOrigin
from frostline.networks.boundary import TAP_GRID, Boundary, Frozen, Thawed
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import filled, find_network
from frostline.storage import write_bytes, write_json

FORMAT_VERSION = 2
TENSORS = "model.safetensors"
INSIDE_RUN = "model"  # the bundle's folder in a run's
REMEDY = "--output-dir chooses another place"


@dataclass(frozen=True)
class Model:
    """Everything that turns pixels into class probabilities.

    ``frozen`` gives the activations, ``trained`` (thawed stages, if any, and the head) turns them into logits.
    ``temperature`` is what the head's logits were divided by to make them say how sure they are: it is in the head.
    ``mirror`` says that a picture and its mirror image are of one class: a run with ``augment`` flip=0 denies it.
    ``rejection`` says below which confidence an answer may count as unknown.
    """

    backbone: Backbone
    boundary: Boundary
    preprocess: Preprocess
    head: Head
    class_names: tuple[str, ...]
    temperature: float | None = None
    mirror: bool = True
    rejection: Rejection | None = None

    @property
    def frozen(self) -> Frozen:
        """The stages up to the boundary."""
        return Frozen(self.backbone, self.boundary)

    @property
    def trained(self) -> nn.Sequential:
        """The thawed stages and the head."""
        return nn.Sequential(Thawed(self.backbone, self.boundary, self.preprocess.image_size), self.head)


def save_bundle(model: Model, folder: Path) -> None:
    """Write a model; the JSON comes last, so a folder with it is whole.

    Raises
    ------
    StorageError
    """
    tensors = {f"stages.{key}": value for key, value in model.backbone.stages.state_dict().items()}
    tensors |= {f"head.{key}": value for key, value in model.head.state_dict().items()}
    flat = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_bytes(folder / TENSORS, save(flat), REMEDY)
    origin = model.backbone.origin
    about = {
        "format": FORMAT_VERSION,
        "frostline": __version__,
        "network": model.backbone.name,
        "boundary": {**asdict(model.boundary), "tap_grid": TAP_GRID},
        "preprocess": model.preprocess.to_dict(),
        "head": model.head.spec.to_dict(),
        "class_names": list(model.class_names),
        "temperature": model.temperature,  # in the head already
        "mirror": model.mirror,
        "rejection": model.rejection.to_dict() if model.rejection else None,
        "weights": asdict(origin) if origin else None,
        "blake2b": digest_file(folder / TENSORS),  # safetensors has no checksum of its own
    }
    write_json(folder / "model.json", about, REMEDY)


def load_bundle(folder: Path, given: Backbone | None = None) -> Model:
    """Read a model back.

    Parameters
    ----------
    folder : Path
        Of the bundle, or of the run that holds it.
    given : Backbone, optional
        The network that the model stands on, where Python code gave it; its weights are those of the bundle.

    Raises
    ------
    RunError
        When it is missing, damaged or of another version.
    """
    folder = folder / INSIDE_RUN if (folder / INSIDE_RUN).is_dir() else folder
    try:
        about: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if about["format"] != FORMAT_VERSION:
            raise RunError(f"{folder} has bundle format {about['format']}, this version reads {FORMAT_VERSION}.")
        if about["boundary"].pop("tap_grid") != TAP_GRID:
            raise RunError(f"{folder} was made with another tap grid than this version's {TAP_GRID}.")
        if digest_file(folder / TENSORS) != about["blake2b"]:
            raise ValueError(f"the checksum of {TENSORS} is wrong")
        tensors = load_file(folder / TENSORS)
        taps = tuple(about["boundary"].pop("taps"))
        boundary = Boundary(**about["boundary"], taps=taps)
        origin = WeightsOrigin(**about["weights"]) if about["weights"] else None
        stages = {k: v for k, v in tensors.items() if k.startswith("stages.")}
        backbone = filled(_network(folder, about, given, boundary.end), stages, origin)
        head = Head(HeadSpec(**about["head"]))
        head.load_state_dict({k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")})
        preprocess = Preprocess.from_dict(about["preprocess"])
        rejection = Rejection.from_dict(about["rejection"]) if about.get("rejection") else None
        class_names, temperature, mirror = tuple(about["class_names"]), about["temperature"], about["mirror"]
        if len(class_names) != head.spec.classes:
            raise ValueError(f"{len(class_names)} class_names for {head.spec.classes} classes")
        if not isinstance(mirror, bool):
            raise ValueError(f"mirror is {mirror!r}")
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no model: the run is not finished, or this is no run folder.") from error
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        UnknownNameError,
        safetensors.SafetensorError,
    ) as error:
        raise RunError(f"the model in {folder} is damaged ({first_line(error)}): run it again.") from error
    return Model(backbone, boundary, preprocess, head.eval(), class_names, temperature, mirror, rejection)


def _network(folder: Path, about: dict[str, Any], given: Backbone | None, last: str) -> Backbone:
    """Return the network of a bundle, its weights still to come."""
    name, from_python = about["network"], (about["weights"] or {}).get("name") == GIVEN
    if given is None and not from_python:
        return find_network(name).build(last)
    if given is None:
        raise RunError(
            f"the model in {folder} stands on a network that Python code gave, {name}: "
            "only Python can load it, with Classifier.load(folder, backbone=Backbone.from_module(…))."
        )
    if given.name != name:
        raise RunError(f"the model in {folder} stands on the network {name}, and {given.name} was given.")
    return copy.deepcopy(given).upto(last)

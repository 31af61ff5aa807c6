"""The deployable model: safetensors for the numbers, JSON for everything else; no pickle.

model/model.json          network, boundary, preprocessing, head, class names, weights' origin
model/model.safetensors   "stages.*": every stage that runs; "head.*": the trained head
model/MODEL_CARD.md       the same for people, with the results (`frostline.runs.model_card`)
model/manifest.json       digests of the others; the run's manifest has the digest of this one
"""

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import ConfigDict, Field, model_validator
from safetensors.torch import save
from torch import nn

from frostline import __version__
from frostline._utils.files import (
    MAX_TENSOR_FILE_BYTES,
    fit_schema,
    open_file,
    parse_json,
    read_bytes,
    read_tensors,
    reading,
)
from frostline._utils.hashing import digest_file, digest_open_file
from frostline._utils.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from frostline._utils.output_folder import OutputFolder
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes, write_json
from frostline.data.preprocess import Preprocess
from frostline.errors import ConfigError, FrostlineError, RunError, UnknownNameError, first_line
from frostline.evaluation.rejection import Rejection
from frostline.models.backbone import GIVEN, Backbone, WeightsOrigin, check_image_size
from frostline.models.boundary import TAP_GRID, Boundary, Frozen, Thawed, make_boundary
from frostline.models.heads import Head, HeadSpec
from frostline.models.registry import filled, find_network
from frostline.runs.folder import BUNDLE, BUNDLE_FILES, Run, warn_unverified
from frostline.runs.schemas import LevelsRecord, Positive, RejectionRecord, Schema, WeightsRecord

FORMAT_VERSION = 2
DESCRIPTION, TENSORS = "model.json", "model.safetensors"
AGAIN = "copy it again from its run, or run it again"


@dataclass(frozen=True)
class Model:
    """Everything that turns pixels into class probabilities.

    ``frozen`` gives the activations, ``trained`` (thawed stages, if any, and the head) turns them into logits.
    ``temperature`` is what the head's logits were divided by to make them say how sure they are: it is in the head.
    ``mirror`` says that an image and its mirror image are of one class: a run with ``augment`` flip=0 denies it.
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


class _Exact(Schema):
    """An entry that this version knows whole."""

    model_config = ConfigDict(extra="forbid")


class BoundaryRecord(_Exact):
    """A `Boundary`, and the side of the grid that its taps are averaged to."""

    freeze: str
    taps: tuple[str, ...]
    end: str
    tap_grid: int


class HeadRecord(_Exact):
    """A `HeadSpec`."""

    kind: Literal["linear", "mlp", "ridge"]
    features: Annotated[int, Field(ge=1, le=1 << 28)]
    classes: Annotated[int, Field(ge=1, le=1 << 24)]
    hidden_width: Annotated[int, Field(ge=1, le=65536)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class PreprocessRecord(Schema):
    """A `Preprocess`, as `Preprocess.to_dict` gives it; what it says beyond these is held against that."""

    model_config = ConfigDict(extra="allow")

    version: int
    resize: str
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    levels: LevelsRecord | None = None

    def make(self) -> Preprocess:
        """Return the preprocessing."""
        return Preprocess.from_dict(self.model_dump(exclude_none=True))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            known = json.loads(json.dumps(self.make().to_dict()))
        except ConfigError as error:
            raise ValueError(first_line(error)) from error
        said = json.loads(self.model_dump_json(exclude_none=True))
        if known != said:
            other = next(name for name in {**known, **said} if known.get(name) != said.get(name))
            raise ValueError(f"{other} is {said.get(other)!r}, expected {known.get(other)!r}")
        return self


ClassName = Annotated[str, Field(min_length=1)]


class Description(_Exact):
    """What ``model.json`` says; ``blake2b`` is of ``model.safetensors``, and ``temperature`` is in the head already."""

    format: int
    frostline: str
    network: Annotated[str, Field(min_length=1)]
    boundary: BoundaryRecord
    preprocess: PreprocessRecord
    head: HeadRecord
    class_names: Annotated[tuple[ClassName, ...], Field(min_length=1)]
    temperature: Positive | None
    mirror: bool
    rejection: RejectionRecord | None = None
    weights: WeightsRecord | None
    blake2b: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.class_names) != self.head.classes:
            raise ValueError(f"{len(self.class_names)} class_names for {self.head.classes} classes")
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names has a name twice")
        return self


def save_bundle(model: Model, folder: Path) -> None:
    """Write a model into a folder.

    Raises
    ------
    RunError
        When the folder holds what is not ours.
    StorageError
    """
    if folder.name != BUNDLE or Run(folder.parent).state == "none":
        OutputFolder(
            f"bundle {folder}", "choose another folder", folder, "bundle", BUNDLE_FILES, made_earlier=_is_bundle
        ).check()
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.backbone.state_dict().items()}
    tensors |= {f"head.{key}": value.detach().cpu().contiguous() for key, value in model.head.state_dict().items()}
    write_bytes(folder / TENSORS, save(tensors), OTHER_OUTPUT_DIR)
    origin = model.backbone.origin
    digest = digest_file(folder / TENSORS)
    about = {
        "format": FORMAT_VERSION,
        "frostline": __version__,
        "network": model.backbone.name,
        "boundary": {**asdict(model.boundary), "tap_grid": TAP_GRID},
        "preprocess": model.preprocess.to_dict(),
        "head": model.head.spec.to_dict(),
        "class_names": list(model.class_names),
        "temperature": model.temperature,
        "mirror": model.mirror,
        "rejection": model.rejection.to_dict() if model.rejection else None,
        "weights": asdict(origin) if origin else None,
        "blake2b": digest,
    }
    write_json(folder / DESCRIPTION, about, OTHER_OUTPUT_DIR)
    seal_bundle(folder, {TENSORS: digest})


def seal_bundle(folder: Path, known: Mapping[str, str] | None = None) -> None:
    """Write the manifest of a bundle.

    Parameters
    ----------
    folder : Path
    known : mapping of str to str, optional
        Digests by name, so that a large file is not read again.

    Raises
    ------
    StorageError
    """
    names = [name for name in BUNDLE_FILES if name != MANIFEST]
    write_manifest(folder, "bundle", names, complete=True, known=known, remedy=OTHER_OUTPUT_DIR)


def _is_bundle(folder: Path) -> bool:
    try:
        _description(folder / DESCRIPTION, read_bytes(folder / DESCRIPTION))
    except (OSError, FrostlineError):
        return False
    return True


def read_description(folder: Path) -> Description:
    """Read what a bundle says of itself, checked against its manifest and its run's.

    Parameters
    ----------
    folder : Path
        Of the bundle.

    Raises
    ------
    RunError
        When it is missing, damaged, of another version, or not as Frostline wrote it.
    """
    path, manifest = folder / DESCRIPTION, _manifest(folder)
    if manifest is not None:
        return _description(path, manifest.read(DESCRIPTION))
    with reading(path, RunError, AGAIN):
        data = read_bytes(path)
    return _description(path, data)


def _manifest(folder: Path) -> Manifest | None:
    """Return a bundle's manifest, checked against its run's when it lies in a run."""
    run = Run(folder.absolute().parent)
    if folder.absolute().name == BUNDLE and run.begun:
        of_run = read_manifest(run.folder, AGAIN)
        if of_run is not None and of_run.complete:
            of_run.read(f"{BUNDLE}/{MANIFEST}")
    manifest = read_manifest(folder, AGAIN)
    if manifest is None:
        warn_unverified(folder)
    elif manifest.kind != "bundle":
        raise RunError(f"{folder / MANIFEST} is of a {manifest.kind}, not of a model: {AGAIN}.")
    return manifest


def _description(path: Path, data: bytes) -> Description:
    with reading(path, RunError, AGAIN):
        about = parse_json(data)
    version = about.get("format") if isinstance(about, dict) else None
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise RunError(f"{path} has bundle format {version}, this version reads {FORMAT_VERSION}.")
    description = fit_schema(Description, data, path, RunError, AGAIN)
    if description.boundary.tap_grid != TAP_GRID:
        raise RunError(f"{path} was made with another tap grid than this version's {TAP_GRID}.")
    return description


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
        When it is missing, damaged, of another version, or not as Frostline wrote it.
    """
    folder = folder / BUNDLE if (folder / BUNDLE).is_dir() else folder
    if not os.path.lexists(folder / DESCRIPTION) and (not os.path.lexists(folder / MANIFEST) or Run(folder).begun):
        raise RunError(f"{folder} holds no model: the run is not finished, or this is no run folder.")
    about = read_description(folder)
    backbone, boundary = _network(folder, about, given)
    spec = HeadSpec(**about.head.model_dump())
    preprocess = about.preprocess.make()
    if not os.path.lexists(folder / MANIFEST):
        _check_size(folder / DESCRIPTION, backbone, boundary, preprocess.image_size, spec)
    path = _checked_tensors(folder, about.blake2b)
    with reading(path, RunError, AGAIN):
        tensors, _ = read_tensors(path)
    _check_tensors(path, tensors, backbone, spec)
    stages = {key: value for key, value in tensors.items() if key.startswith("stages.")}
    origin = WeightsOrigin(**about.weights.model_dump()) if about.weights else None
    backbone = filled(backbone, stages, origin)
    head = Head(spec)
    head.load_state_dict({k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")})
    rejection = about.rejection.make() if about.rejection else None
    return Model(
        backbone, boundary, preprocess, head.eval(), about.class_names, about.temperature, about.mirror, rejection
    )


def checked_tensors(folder: Path) -> Path:
    """Return the path of a bundle's tensors, once their digest is right.

    Raises
    ------
    RunError
        When it is not, or the bundle's other files are missing or damaged.
    """
    return _checked_tensors(folder, read_description(folder).blake2b)


def _checked_tensors(folder: Path, digest: str) -> Path:
    path, manifest = folder / TENSORS, read_manifest(folder, AGAIN)
    if manifest is not None:
        found = manifest.check(TENSORS)
    else:
        with reading(path, RunError, AGAIN), open_file(path, MAX_TENSOR_FILE_BYTES) as file:
            found = digest_open_file(file)
    if found != digest:
        raise RunError(f"{path} is damaged (its checksum is not the one in {DESCRIPTION}): {AGAIN}.")
    return path


def _network(folder: Path, about: Description, given: Backbone | None) -> tuple[Backbone, Boundary]:
    """Return the network of a bundle, its weights still to come, and where it is cut."""
    name, from_python = about.network, about.weights is not None and about.weights.name == GIVEN
    if given is None and from_python:
        raise RunError(
            f"the model in {folder} stands on a network that Python code gave, {name}: "
            "only Python can load it, with Classifier.load(folder, backbone=Backbone.from_module(…))."
        )
    if given is not None and given.name != name:
        raise RunError(f"the model in {folder} stands on the network {name}, and {given.name} was given.")
    expected = Boundary(about.boundary.freeze, about.boundary.taps, about.boundary.end)
    try:
        if given is None:
            network = find_network(name)
            boundary = make_boundary(network.outline(), expected.freeze, expected.taps)
        else:
            boundary = make_boundary(given, expected.freeze, expected.taps)
    except UnknownNameError as error:
        raise RunError(f"{folder / DESCRIPTION} is damaged ({first_line(error)}): {AGAIN}.") from error
    if boundary != expected:
        raise RunError(f"{folder / DESCRIPTION} is damaged (its boundary cannot be): {AGAIN}.")
    return (network.build(boundary.end) if given is None else copy.deepcopy(given).upto(boundary.end)), boundary


def _check_tensors(path: Path, tensors: dict[str, torch.Tensor], backbone: Backbone, spec: HeadSpec) -> None:
    """Refuse tensors that are not exactly those that the network and the head need, or are not finite."""
    with torch.device("meta"):
        head = Head(spec).state_dict()
    wanted = backbone.state_dict() | {f"head.{name}": value for name, value in head.items()}
    fault = ""
    for name in sorted({*tensors, *wanted}):
        if name not in tensors:
            fault = f"'{name}' is missing"
        elif name not in wanted:
            fault = f"'{name}' is not of this network"
        elif tensors[name].shape != wanted[name].shape or tensors[name].dtype != wanted[name].dtype:
            fault = f"'{name}' is {_kind(tensors[name])}, expected {_kind(wanted[name])}"
        elif tensors[name].is_floating_point() and not tensors[name].isfinite().all():
            fault = f"'{name}' is not finite"
        if fault:
            raise RunError(f"{path} is damaged ({fault}): {AGAIN}.")


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _check_size(path: Path, backbone: Backbone, boundary: Boundary, size: int, spec: HeadSpec) -> None:
    """Refuse an image size that network and head cannot take."""
    shape = backbone.outline()
    try:
        check_image_size(shape, size)
    except ConfigError as error:
        raise RunError(f"{path} is damaged ({first_line(error)}): {AGAIN}.") from error
    with torch.no_grad():
        rows = Frozen(shape, boundary)(torch.empty(1, 3, size, size, device="meta"))
        features = Thawed(shape, boundary, size).eval()(rows).flatten(1).shape[1]
    if features != spec.features:
        raise RunError(f"{path} is damaged (image_size {size} does not suit the head): {AGAIN}.")

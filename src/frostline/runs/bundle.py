"""The bundle: a deployable model as safetensors and JSON, without pickle.

model/model.json          network, boundary, preprocessing, head, class names, origin of the weights
model/model.safetensors   "stages.*": every stage that runs; "head.*": the trained head
model/MODEL_CARD.md       description and results, to read (`frostline.runs.model_card`)
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
    """Everything from pixels to class probabilities: ``frozen`` computes features, ``trained`` their logits.

    Attributes
    ----------
    backbone : Backbone
    boundary : Boundary
    preprocess : Preprocess
    head : Head
    class_names : tuple of str
    temperature : float or None
        Calibration temperature; the weights of the head are already divided by it.
    mirror : bool
        Whether an image and its mirror image have the same class; false for runs with ``augment`` flip=0.
    rejection : Rejection or None
        Confidence thresholds below which a prediction may count as unknown.
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
    """An entry without unknown keys."""

    model_config = ConfigDict(extra="forbid")


class BoundaryRecord(_Exact):
    """A `Boundary`, and the side of the grid that its taps are pooled to."""

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
    """A `Preprocess` as returned by `Preprocess.to_dict`, whose other keys are compared, too."""

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
    def _valid(self) -> Self:
        try:
            expected = json.loads(json.dumps(self.make().to_dict()))
        except ConfigError as error:
            raise ValueError(first_line(error)) from error
        found = json.loads(self.model_dump_json(exclude_none=True))
        for name in {**expected, **found}:
            if expected.get(name) != found.get(name):
                raise ValueError(f"{name} is {found.get(name)!r}, expected {expected.get(name)!r}")
        return self


ClassName = Annotated[str, Field(min_length=1)]


class Description(_Exact):
    """Schema of ``model.json``; ``blake2b`` is the digest of ``model.safetensors``."""

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
    def _consistent(self) -> Self:
        if len(self.class_names) != self.head.classes:
            raise ValueError(f"{len(self.class_names)} class_names for {self.head.classes} classes")
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names are not unique")
        return self


def save_bundle(model: Model, folder: Path) -> None:
    """Write a model into a folder.

    Raises
    ------
    RunError
        When the folder contains other files.
    StorageError
    """
    if folder.name != BUNDLE or Run(folder.parent).state == "none":
        OutputFolder(
            f"bundle {folder}", "choose another folder", folder, "bundle", BUNDLE_FILES, made_earlier=_is_bundle
        ).check()
    tensors = {key: value.detach().cpu().contiguous() for key, value in _tensors(model.backbone, model.head).items()}
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


def _tensors(backbone: Backbone, head: Head) -> dict[str, torch.Tensor]:
    return backbone.state_dict() | {f"head.{key}": value for key, value in head.state_dict().items()}


def seal_bundle(folder: Path, known: Mapping[str, str] | None = None) -> None:
    """Write the manifest of a bundle; ``known`` are digests by name, to avoid reading large files again."""
    names = [name for name in BUNDLE_FILES if name != MANIFEST]
    write_manifest(folder, "bundle", names, complete=True, known=known, remedy=OTHER_OUTPUT_DIR)


def _is_bundle(folder: Path) -> bool:
    try:
        _parse_description(folder / DESCRIPTION, read_bytes(folder / DESCRIPTION))
    except (OSError, FrostlineError):
        return False
    return True


def read_description(folder: Path) -> Description:
    """Read a bundle's ``model.json``, checked against the manifests of the bundle and its run.

    Raises RunError when it is missing, damaged, of another version, or not as Frostline wrote it.
    """
    path, manifest = folder / DESCRIPTION, _checked_manifest(folder)
    if manifest is not None:
        return _parse_description(path, manifest.read(DESCRIPTION))
    with reading(path, RunError, AGAIN):
        data = read_bytes(path)
    return _parse_description(path, data)


def _checked_manifest(folder: Path) -> Manifest | None:
    """Return a bundle's manifest, checked against that of its run if it is inside one."""
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


def _parse_description(path: Path, data: bytes) -> Description:
    with reading(path, RunError, AGAIN):
        about = parse_json(data)
    version = about.get("format") if isinstance(about, dict) else None
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise RunError(f"{path} has bundle format {version}, this version reads {FORMAT_VERSION}.")
    description = fit_schema(Description, data, path, RunError, AGAIN)
    if description.boundary.tap_grid != TAP_GRID:
        raise RunError(f"{path} was made with another tap grid than this version's {TAP_GRID}.")
    return description


def load_bundle(folder: Path, backbone: Backbone | None = None) -> Model:
    """Read a model.

    Parameters
    ----------
    folder : Path
        The bundle, or the run that contains it.
    backbone : Backbone, optional
        The network, if it was passed to `frostline.fit`; only its architecture is used, its weights are the bundle's.

    Raises
    ------
    RunError
        When it is missing, damaged, of another version, not as Frostline wrote it, or of another network than
        ``backbone``.
    ConfigError
        When the package of the network is not installed.
    """
    folder = folder / BUNDLE if (folder / BUNDLE).is_dir() else folder
    if not os.path.lexists(folder / DESCRIPTION) and (not os.path.lexists(folder / MANIFEST) or Run(folder).begun):
        raise RunError(f"{folder} contains no model: the run is not finished, or this is not a run folder.")
    about = read_description(folder)
    backbone, boundary = _network(folder, about, backbone)
    spec = HeadSpec(**about.head.model_dump())
    preprocess = about.preprocess.make()
    if not os.path.lexists(folder / MANIFEST):
        _check_size(folder / DESCRIPTION, backbone, boundary, preprocess.image_size, spec)
    path = _verified_tensors(folder, about.blake2b)
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


def verified_tensors(folder: Path) -> Path:
    """Return the path of a bundle's tensors after checking their digest.

    Raises RunError when it is wrong, or the bundle's other files are missing or damaged.
    """
    return _verified_tensors(folder, read_description(folder).blake2b)


def _verified_tensors(folder: Path, digest: str) -> Path:
    path, manifest = folder / TENSORS, read_manifest(folder, AGAIN)
    if manifest is not None:
        found = manifest.check(TENSORS)
    else:
        with reading(path, RunError, AGAIN), open_file(path, MAX_TENSOR_FILE_BYTES) as file:
            found = digest_open_file(file)
    if found != digest:
        raise RunError(f"{path} is damaged (its checksum is not the one in {DESCRIPTION}): {AGAIN}.")
    return path


def _network(folder: Path, about: Description, backbone: Backbone | None) -> tuple[Backbone, Boundary]:
    """Return the network of a bundle, without its weights, and the freeze boundary."""
    name = about.network
    if backbone is None and about.weights is not None and about.weights.name == GIVEN:
        raise RunError(
            f"the model in {folder} uses {name}, a network that was passed to frostline.fit: "
            "load it in Python with Classifier.load(folder, backbone=Backbone.from_module(…))."
        )
    if backbone is not None and backbone.name != name:
        raise RunError(f"the model in {folder} uses the network {name}, not {backbone.name}.")
    expected = Boundary(about.boundary.freeze, about.boundary.taps, about.boundary.end)
    try:
        if backbone is None:
            network = find_network(name)
            boundary = make_boundary(network.outline(), expected.freeze, expected.taps)
        else:
            boundary = make_boundary(backbone, expected.freeze, expected.taps)
    except UnknownNameError as error:
        raise RunError(f"{folder / DESCRIPTION} is damaged ({first_line(error)}): {AGAIN}.") from error
    if boundary != expected:
        raise RunError(f"{folder / DESCRIPTION} is damaged (impossible boundary): {AGAIN}.")
    if backbone is None:
        return network.build(boundary.end), boundary
    return copy.deepcopy(backbone).upto(boundary.end), boundary


def _check_tensors(path: Path, tensors: dict[str, torch.Tensor], backbone: Backbone, spec: HeadSpec) -> None:
    """Refuse tensors that are not exactly those of the network and the head, or not finite."""
    with torch.device("meta"):
        expected = _tensors(backbone, Head(spec))
    fault = ""
    for name in sorted({*tensors, *expected}):
        if name not in tensors:
            fault = f"'{name}' is missing"
        elif name not in expected:
            fault = f"'{name}' is not of this network"
        elif _shape(tensors[name]) != _shape(expected[name]):
            fault = f"'{name}' is {_shape(tensors[name])}, expected {_shape(expected[name])}"
        elif tensors[name].is_floating_point() and not tensors[name].isfinite().all():
            fault = f"'{name}' is not finite"
        if fault:
            raise RunError(f"{path} is damaged ({fault}): {AGAIN}.")


def _shape(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _check_size(path: Path, backbone: Backbone, boundary: Boundary, size: int, spec: HeadSpec) -> None:
    """Refuse an image size that the network or the head does not accept."""
    outline = backbone.outline()
    try:
        check_image_size(outline, size)
    except ConfigError as error:
        raise RunError(f"{path} is damaged ({first_line(error)}): {AGAIN}.") from error
    with torch.no_grad():
        rows = Frozen(outline, boundary)(torch.empty(1, 3, size, size, device="meta"))
        features = Thawed(outline, boundary, size).eval()(rows).flatten(1).shape[1]
    if features != spec.features:
        raise RunError(f"{path} is damaged (image_size {size} does not suit the head): {AGAIN}.")

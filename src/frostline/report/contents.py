"""Contents of a report, read from the run folder, with one line for each missing or damaged file."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch

from frostline._utils.files import reading
from frostline._utils.manifest import MANIFEST, read_manifest
from frostline.errors import FrostlineError, RunError, first_line
from frostline.runs.bundle import verified_tensors
from frostline.runs.embedding_index import Index, read_index
from frostline.runs.evidence import Evidence, read_evidence
from frostline.runs.folder import AGAIN, Run
from frostline.training.checkpoint import Epoch

T = TypeVar("T")


@dataclass
class ReportContents:
    """Everything a report shows; ``None`` or empty where the run has no such file.

    Attributes
    ----------
    name : str
        Name of the run.
    folder : str
        Folder of the run.
    finished : bool
        Whether the run is finished and should have results.
    metrics, settings : dict
        Contents of ``metrics.json`` and ``config.toml``.
    toml : str
        Text of ``config.toml``.
    history : list of Epoch
    evidence : Evidence or None
    overlays : dict
        Saliency maps over the test images with thumbnails, as JPEG by position.
    index : Index or None
    filters : Tensor (N, 3, H, W) or None
        First convolution of the network.
    images : dict
        Number of images by split, from ``data.json``.
    bad_images : int
        Number of unreadable images.
    missing : list of str
        Part of the report and reason, for each missing or damaged file.
    """

    name: str
    finished: bool = True
    metrics: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    toml: str = ""
    history: list[Epoch] = field(default_factory=list)
    evidence: Evidence | None = None
    overlays: dict[int, bytes] = field(default_factory=dict)
    index: Index | None = None
    filters: torch.Tensor | None = None
    images: dict[str, int] = field(default_factory=dict)
    bad_images: int = 0
    missing: list[str] = field(default_factory=list)
    folder: str = ""

    @property
    def class_names(self) -> list[str]:
        """Class names in the order of the labels."""
        return list((self.metrics["test"] or self.metrics["val"])["per_class"])

    @property
    def solved(self) -> bool:
        """Whether the head was fitted in closed form, so that there are no epochs."""
        return "l2" in self.metrics.get("training", {})


def gather(run: Run) -> ReportContents:
    """Read the contents of a run folder; missing or damaged files are noted in ``missing``.

    Raises RunError when the manifest, against which files are checked, is damaged.
    """
    read_manifest(run.folder, AGAIN)
    found = ReportContents(run.name, run.state == "finished", folder=str(run.folder))
    if found.finished:
        found.metrics = _try(found, "results", "metrics.json", lambda: run.metrics) or {}
    elif run.has("metrics.json"):
        found.missing.append(f"results: {MANIFEST} does not list the metrics.json beside it")
    found.settings = _try(found, "settings", "config.toml", lambda: run.config.model_dump(mode="json")) or {}
    found.toml = _try(found, "settings", "config.toml", lambda: run.parse("config.toml", bytes.decode)) or ""
    found.history = _try(found, "learning curves", "history.csv", lambda: run.history) or []
    found.evidence = _try(
        found, "galleries and reliability diagram", "evidence.safetensors", lambda: read_evidence(run)
    )
    found.index = _try(found, "embedding map", "index.safetensors", lambda: read_index(run.index))
    found.filters = _try(found, "filters", "model/model.safetensors", lambda: first_filters(run.model_folder))
    found.images = _try(found, "image counts", "data.json", lambda: _images(run)) or {}
    if run.has("bad_images.csv"):
        found.bad_images = _try(found, "unreadable images", "bad_images.csv", lambda: _count_bad_images(run)) or 0
    classes = len(found.class_names) if "test" in found.metrics else None
    if classes and not found.metrics["test"]:
        found.missing.append("test results: the run has no test split (--test-fraction 0)")
    if found.evidence and found.evidence.test.probabilities.shape[1] != classes:
        found.evidence = None
        if classes is not None:
            found.missing.append("galleries and reliability diagram: evidence.safetensors belongs to another run")
    if found.evidence is not None:
        found.overlays = _overlays(found, run.folder, found.evidence)
    return found


def _overlays(found: ReportContents, folder: Path, evidence: Evidence) -> dict[int, bytes]:
    from frostline.report.overlay import overlays

    try:
        return overlays(folder, evidence)
    except FrostlineError as error:
        found.missing.append(f"saliency maps: {first_line(error)}")
        return {}


def _try(found: ReportContents, what: str, file: str, read: Callable[[], T]) -> T | None:
    try:
        return read()
    except FrostlineError as error:
        reason = f"{file} is missing" if isinstance(error.__cause__, FileNotFoundError) else f"{file} is damaged"
    line = f"{what}: {reason}"
    if line not in found.missing:
        found.missing.append(line)
    return None


def _images(run: Run) -> dict[str, int]:
    record = run.begin_record
    return {"train": record.train.images, "val": record.val.images, "test": record.test.images}


def _count_bad_images(run: Run) -> int:
    def count(data: bytes) -> int:
        return len(list(csv.DictReader(io.StringIO(data.decode(errors="surrogateescape"), newline=""))))

    return run.parse("bad_images.csv", count)


def first_filters(folder: Path) -> torch.Tensor | None:
    """Return the first convolution with three input channels (N, 3, H, W) of a bundle, or None.

    Raises RunError when the bundle is damaged.
    """
    path = verified_tensors(folder)
    with reading(path, RunError, AGAIN), safetensors.safe_open(path, framework="pt") as file:
        for key in sorted(file.keys()):
            shape = file.get_slice(key).get_shape()
            if key.startswith("stages.") and len(shape) == 4 and shape[1] == 3 and min(shape[2:]) >= 3:
                tensor: torch.Tensor = file.get_tensor(key).float()
                return tensor
    return None

"""Learning curve: test accuracy over the number of labeled images, for five ways to train a classifier.

OUTPUT/
  settings.json   settings that determine the points; a run with the same settings adds the missing points
  points.jsonl    one line per point, appended as it is measured
  curve.csv       one line per way and number of labels: mean accuracy, interval, epochs, seconds
  curve.png, summary.txt
  manifest.json   identifies the folder; lock is held while a process writes
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from frostline._utils.device import describe_device, pick_device
from frostline._utils.files import read_bytes, read_json, reading
from frostline._utils.hashing import digest_json
from frostline._utils.output_folder import START_OVER, Claim, OutputFolder
from frostline._utils.progress import Progress, Silent, log
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes, write_json
from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset
from frostline.data.registry import data_name, load_configured
from frostline.data.splits import limited, per_class
from frostline.errors import ConfigError, RunError
from frostline.pipeline.context import Context, make_context
from frostline.pipeline.rank import AUTO, choose_network, with_model
from frostline.studies.learning_curve_methods import METHODS, Setting, Way
from frostline.studies.learning_curve_results import (
    ALL,
    WAYS,
    CurvePoint,
    CurveSpec,
    check_spec,
    draw,
    how_many,
    summarize,
    tabulate,
    write_table,
)  # fmt: skip

OWN_FILES = frozenset({"settings.json", "points.jsonl", "curve.csv", "curve.png", "summary.txt"})


def curve(
    config: TrainConfig,
    spec: CurveSpec,
    output: Path,
    *,
    cache_dir: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[CurvePoint]:
    """Measure the missing points, and write table, figure and summary.

    Parameters
    ----------
    config : TrainConfig
        Data set, model, weights, image size, seed and device; other settings have their defaults.
    spec : CurveSpec
    output : Path
        Points that the folder already has with the same settings are not measured again.
    overwrite : bool
        Replace a curve with other settings.

    Returns
    -------
    list of CurvePoint
        In the order of ``spec.points()``.

    Raises
    ------
    FrostlineError
        For errors caused by user input or the environment.
    """
    check_spec(spec)
    folder = OutputFolder(
        f"the curve in {output}",
        "choose another --output-dir",
        output,
        "curve",
        OWN_FILES,
        OTHER_OUTPUT_DIR,
        _made_earlier,
    )  # fmt: skip
    with folder.claim() as claim:
        claim.will_write(*OWN_FILES)
        known = _begin(config, spec, folder, overwrite=overwrite)
        if known:
            claim.keep()
        missing = [point for point in spec.points() if point not in known]
        if missing:
            _measure(
                config,
                spec,
                missing,
                known,
                output,
                make_context(config.device, cache_dir, progress, config.engine),
                claim,
            )
        points = [known[point] for point in spec.points()]
        cells = tabulate(points)
        write_table(cells, output / "curve.csv")
        write_bytes(output / "summary.txt", ("\n".join(summarize(points, spec)) + "\n").encode(), OTHER_OUTPUT_DIR)
        draw(cells, spec, f"{data_name(config.data)}: accuracy against labeled images", output / "curve.png")
    return points


Known = dict[tuple[str, int, int], CurvePoint]


class _Settings(BaseModel):
    """Schema of ``settings.json``."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any]
    question: dict[str, Any]
    network: "_Network | None" = None  # chosen by the images


class _Network(BaseModel):
    """The network that was chosen, for points that are added when other networks are on the machine."""

    model_config = ConfigDict(extra="forbid")

    model: str
    weights: str
    taps: tuple[str, ...]


class _Line(BaseModel):
    """One line of ``points.jsonl``; earlier versions wrote no digest."""

    model_config = ConfigDict(extra="forbid", strict=True)

    way: str
    labels: NonNegativeInt
    repeat: NonNegativeInt
    accuracy: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    epochs: NonNegativeInt
    blake2b: str = ""

    @property
    def point(self) -> CurvePoint:
        return CurvePoint(**self.model_dump(exclude={"blake2b"}))


def _made_earlier(folder: Path) -> bool:
    """Whether an earlier version, which wrote no manifest, has written a curve here."""
    try:
        return bool(_Settings.model_validate_json(read_bytes(folder / "settings.json")).question)
    except (OSError, ValueError):
        return False


def _begin(config: TrainConfig, spec: CurveSpec, folder: OutputFolder, *, overwrite: bool) -> Known:
    """Return the points measured earlier with the same settings, or initialize the folder."""
    requested = {
        "config": config.model_dump(mode="json", exclude_none=True) | {"device": pick_device(config.device).type},
        "question": json.loads(json.dumps(asdict(spec))),
    }
    # Points stay valid with other repeats, labels or ways; what determines their values must be the same.
    for free in ("labels", "ways", "repeats", "full", "target"):
        requested["question"].pop(free)
    settings, lines = folder.path / "settings.json", folder.path / "points.jsonl"
    if settings.is_file() and not overwrite:
        stored = read_json(settings, _Settings, RunError, START_OVER)
        before, now = stored.config | stored.question, requested["config"] | requested["question"]
        folder.check_same(before, dict.fromkeys(before) | now, settings)
        return _read(lines) if lines.is_file() else {}
    folder.remove(OWN_FILES)
    write_json(settings, requested, OTHER_OUTPUT_DIR)
    return {}


def _read(lines: Path) -> Known:
    """Return the points in a file; damaged lines are removed, and their points are measured again."""
    with reading(lines, RunError, START_OVER):
        content = read_bytes(lines)
    known: Known = {}
    valid, damaged = list[bytes](), list[str]()
    for number, line in enumerate(content.splitlines(), 1):
        try:
            read = _Line.model_validate_json(line)
        except ValueError:  # truncated when the process was killed
            damaged.append(str(number))
            continue
        if read.blake2b not in ("", _digest(read.point)):
            damaged.append(str(number))
            continue
        known[read.way, read.labels, read.repeat] = read.point
        valid.append(line + b"\n")
    if damaged:
        log.warning("%s is damaged in line %s: measured again", lines, ", ".join(damaged[:20]))
        write_bytes(lines, b"".join(valid), OTHER_OUTPUT_DIR)
    return known


def _digest(point: CurvePoint) -> str:
    return digest_json(asdict(point))


def _measure(
    config: TrainConfig,
    spec: CurveSpec,
    missing: Sequence[tuple[str, int, int]],
    known: Known,
    output: Path,
    context: Context,
    claim: Claim,
) -> None:
    splits = load_configured(config, context.cache, context.progress, keep=True)
    pool, test = splits.train, splits.test
    if not len(test):
        raise ConfigError("a learning curve needs a test split: choose a --test-fraction above 0.")
    if config.limit is not None:
        pool = pool.subset(limited(pool.labels, config.limit, config.seed))
        test = test.subset(limited(test.labels, max(config.limit // 6, 1), config.seed))
    config = _with_network(config, pool, context, output / "settings.json")
    log.info("data: %s, %s labeled images to draw from, %s test", splits.name, f"{len(pool):,}", f"{len(test):,}")
    drawn = {(labels, repeat): _draw(pool.labels, labels, config.seed + repeat) for _, labels, repeat in spec.points()}
    begun = time.perf_counter()
    for name, (title, _) in WAYS.items():
        own = [point for point in missing if point[0] == name]
        if not own:
            continue
        needed = np.unique(np.concatenate([drawn[labels, repeat] for _, labels, repeat in own]))
        setting = Setting(config, pool, test, needed, spec.seconds, spec.train_size, context)
        started = time.perf_counter()
        way = METHODS[name](setting)
        log.info("%s: prepared in %.1f s", title, time.perf_counter() - started)
        with (context.progress or Silent()).bar(title, len(own), "points") as bar:
            for point in own:
                known[point] = _point(way, point, drawn[point[1], point[2]])
                _append(known[point], output / "points.jsonl")
                claim.keep()
                bar.advance(1)
    device = describe_device(context.device)
    log.info("%d points in %.0f s on %s", len(missing), time.perf_counter() - begun, device)


def _with_network(config: TrainConfig, pool: ImageDataset, context: Context, file: Path) -> TrainConfig:
    """Return the settings with the network that a curve was begun with, or that the images choose for a new one."""
    config = with_model(config)
    if config.model != AUTO:
        return config
    stored = read_json(file, _Settings, RunError, START_OVER)
    if stored.network is None:
        chosen = choose_network(config, pool, context)
        stored.network = _Network(model=chosen.model, weights=chosen.weights, taps=tuple(chosen.taps))
        write_json(file, stored.model_dump(mode="json"), OTHER_OUTPUT_DIR)
    return config.model_copy(update=dict(stored.network))


def _draw(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    return np.arange(len(labels)) if count == ALL else per_class(labels, count, seed)


def _point(way: Way, point: tuple[str, int, int], labeled: NDArray[np.int64]) -> CurvePoint:
    name, labels, repeat = point
    begun = time.perf_counter()
    outcome = way(labeled, repeat)
    seconds = time.perf_counter() - begun
    log.info(
        "%s, %s, repeat %d: accuracy %.4f  %d epoch%s  %.1f s",
        WAYS[name][0], how_many(labels), repeat + 1, outcome.accuracy, outcome.epochs,
        "s" * (outcome.epochs != 1), seconds,
    )  # fmt: skip
    return CurvePoint(name, labels, repeat, outcome.accuracy, seconds, outcome.epochs)


def _append(point: CurvePoint, path: Path) -> None:
    old = read_bytes(path) if path.is_file() else b""
    line = json.dumps(asdict(point) | {"blake2b": _digest(point)})
    write_bytes(path, old + line.encode() + b"\n", OTHER_OUTPUT_DIR)

"""Accuracy against labels: the same test for five ways to a classifier, with few labelled pictures and with many.

OUTPUT/
  settings.json   what decides a point's value; the same again goes on with the points that are missing
  points.jsonl    one line per point, written when it is known
  curve.csv       one line per way and number of labels: mean, interval, seconds
  curve.png, summary.txt
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline.config import TrainConfig
from frostline.device import describe_device, pick_device
from frostline.errors import ConfigError, RunError, first_line
from frostline.experiments.points import ALL, WAYS, Point, Question, check_question, how_many
from frostline.experiments.summary import draw, summary, tabulate, write_table
from frostline.experiments.ways import Setting, Way, fine_tuned, frozen, pixels, scratch
from frostline.images.registry import data_name, load_configured
from frostline.images.splits import limited, per_class
from frostline.progress import Progress, Silent, log
from frostline.storage import cache_dir as cache_folder
from frostline.storage import write_bytes, write_json

REMEDY = "--output-dir chooses another place"


def curve(
    config: TrainConfig,
    question: Question,
    output: Path,
    *,
    cache_dir: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Point]:
    """Measure every point that is missing, and write table, picture and summary.

    Parameters
    ----------
    config : TrainConfig
        Data set, model, weights, image size, seed and device; the rest are the defaults.
    question : Question
    output : Path
        Folder; with the same question in it, its points are not measured again.
    overwrite : bool
        Begin anew where another question stands.

    Returns
    -------
    list of Point
        Of this question, in its order.

    Raises
    ------
    FrostlineError
        For everything the user can mend.
    """
    check_question(question)
    known = _begin(config, question, output, overwrite=overwrite)
    missing = [point for point in question.points() if point not in known]
    if missing:
        _measure(config, question, missing, known, output, cache_folder(cache_dir), progress)
    points = [known[point] for point in question.points()]
    cells = tabulate(points)
    write_table(cells, output / "curve.csv")
    write_bytes(output / "summary.txt", ("\n".join(summary(points, question)) + "\n").encode(), REMEDY)
    draw(cells, question, f"{data_name(config.data)}: accuracy against labelled pictures", output / "curve.png")
    return points


Known = dict[tuple[str, int, int], Point]


def _begin(config: TrainConfig, question: Question, output: Path, *, overwrite: bool) -> Known:
    """Return the points that an earlier run of the same question left, or begin a new folder."""
    asked = {
        "config": config.model_dump(mode="json", exclude_none=True),
        "question": json.loads(json.dumps(asdict(question))),
    }
    # More repeats, labels or ways leave what was measured valid; what decides a point's value must be the same.
    for free in ("labels", "ways", "repeats", "full", "target"):
        asked["question"].pop(free)
    settings, lines = output / "settings.json", output / "points.jsonl"
    if settings.is_file() and not overwrite:
        try:
            begun = json.loads(settings.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{settings} is damaged ({first_line(error)}): --overwrite begins again.") from error
        if begun != asked:
            raise RunError(f"{output} holds a curve with other settings: --overwrite it, or {REMEDY}.")
        return _read(lines) if lines.is_file() else {}
    if output.is_dir() and any(output.iterdir()) and not settings.is_file():
        raise RunError(f"{output} exists and holds no curve: {REMEDY}.")
    lines.unlink(missing_ok=True)
    write_json(settings, asked, REMEDY)
    return {}


def _read(lines: Path) -> Known:
    known: Known = {}
    for line in lines.read_text(encoding="utf-8").splitlines():
        try:
            point = Point(**json.loads(line))
        except (ValueError, TypeError):
            continue  # cut short when the process was killed: measured again
        known[point.way, point.labels, point.repeat] = point
    return known


def _measure(
    config: TrainConfig,
    question: Question,
    missing: Sequence[tuple[str, int, int]],
    known: Known,
    output: Path,
    cache: Path,
    progress: Progress | None,
) -> None:
    splits = load_configured(config, cache, progress)
    pool, test = splits.train, splits.test
    if not len(test):
        raise ConfigError("a learning curve needs a test split: choose a --test-fraction above 0.")
    if config.limit is not None:
        pool = pool.subset(limited(pool.labels, config.limit, config.seed))
        test = test.subset(limited(test.labels, max(config.limit // 6, 1), config.seed))
    log.info("data: %s, %s labelled images to draw from, %s test", splits.name, f"{len(pool):,}", f"{len(test):,}")
    drawn = {
        (labels, repeat): _draw(pool.labels, labels, config.seed + repeat) for _, labels, repeat in question.points()
    }
    begun = time.perf_counter()
    for name, (title, _) in WAYS.items():
        mine = [point for point in missing if point[0] == name]
        if not mine:
            continue
        needed = np.unique(np.concatenate([drawn[labels, repeat] for _, labels, repeat in mine]))
        setting = Setting(config, pool, test, needed, question.seconds, question.train_size, cache, progress)
        started = time.perf_counter()
        way = _open(name, setting)
        log.info("%s: %.1f s before its first point", title, time.perf_counter() - started)
        with (progress or Silent()).bar(title, len(mine), "points") as bar:
            for point in mine:
                known[point] = _point(way, point, drawn[point[1], point[2]])
                _append(known[point], output / "points.jsonl")
                bar.advance(1)
    device = describe_device(pick_device(config.device))
    log.info("%d points in %.0f s on %s", len(missing), time.perf_counter() - begun, device)


def _draw(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    return np.arange(len(labels)) if count == ALL else per_class(labels, count, seed)


def _open(name: str, setting: Setting) -> Way:
    ways: dict[str, Callable[[], Way]] = {
        "pixels": lambda: pixels(setting),
        "random-frozen": lambda: frozen(setting, "random"),
        "frozen": lambda: frozen(setting, setting.config.weights),
        "fine-tuned": lambda: fine_tuned(setting, setting.config.weights),
        "scratch": lambda: scratch(setting),
    }
    return ways[name]()


def _point(way: Way, point: tuple[str, int, int], labelled: NDArray[np.int64]) -> Point:
    name, labels, repeat = point
    begun = time.perf_counter()
    outcome = way(labelled, repeat)
    seconds = time.perf_counter() - begun
    log.info(
        "%s, %s, repeat %d: accuracy %.4f  %d epochs  %.1f s",
        WAYS[name][0], how_many(labels), repeat + 1, outcome.accuracy, outcome.epochs, seconds,
    )  # fmt: skip
    return Point(name, labels, repeat, outcome.accuracy, seconds, outcome.epochs)


def _append(point: Point, path: Path) -> None:
    old = path.read_bytes() if path.is_file() else b""
    if old and not old.endswith(b"\n"):
        old = old[: old.rfind(b"\n") + 1]
    write_bytes(path, old + json.dumps(asdict(point)).encode() + b"\n", REMEDY)

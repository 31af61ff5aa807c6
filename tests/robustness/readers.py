"""Everything that reads files a user may have changed: the files it needs, and its answer."""

import contextlib
import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Answer = Any


class Refused(Exception):  # noqa: N818  (it is no error)
    """Exit code 2, with the text of standard error; ``listed`` is the text of standard output."""

    def __init__(self, text: str, listed: str = "") -> None:
        super().__init__(text)
        self.listed = listed


@dataclass(frozen=True)
class Reader:
    """Something that reads files.

    Parameters
    ----------
    read : callable
        Returns an answer from the files in the current folder, given the folder of `material.py`; raises `Refused` or
        a `FrostlineError`.
    needs : tuple of str
        Files and folders that it needs.
    files : tuple of str
        Globs of the files that are damaged.
    share : int
        Weight among all cases; slow readers have a small one.
    checked : bool
        Whether changed content must be detected. Users may edit tables and settings: these are used as they are.
    partial : bool
        Whether an answer may omit the content of the damaged file, if it names the file.
    """

    read: Callable[[Path], Answer]
    needs: tuple[str, ...]
    files: tuple[str, ...]
    share: int
    checked: bool = True
    partial: bool = False


@dataclass(frozen=True)
class LoggedAnswer:
    """An answer, and all other output, where damaged files may be named."""

    answer: Answer
    text: str


def command(*words: object) -> tuple[str, str]:
    """Run a command in this process; return its standard output and standard error.

    Raises
    ------
    Refused
    """
    from frostline.cli.main import run

    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = run([str(word) for word in words])
    if code == 2:
        raise Refused(errors.getvalue(), out.getvalue())
    if code != 0:
        raise AssertionError(f"exit code {code}: {errors.getvalue()[-300:]}")
    return out.getvalue(), errors.getvalue()


@contextlib.contextmanager
def _logged() -> Iterator[io.StringIO]:
    """Collect the library's log."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    log = logging.getLogger("frostline")
    log.addHandler(handler)
    try:
        yield text
    finally:
        log.removeHandler(handler)


def samples(material: Path) -> list[Path]:
    return [material / "p" / "red" / "000.bmp", material / "p" / "blue" / "001.bmp"]


def predict(material: Path) -> Answer:
    out, _ = command("predict", "first", *samples(material), "--format", "json")
    return [[(one["class"], one["probability"]) for one in item["predictions"]] for item in json.loads(out)]


def bundle(material: Path) -> Answer:
    from frostline import Classifier

    classifier = Classifier.load(Path("runs/first/model"))
    return [list(classifier.class_names), classifier.predict_proba(samples(material)).tolist()]


def serve(material: Path) -> LoggedAnswer:
    from frostline.data.decoding.decode import decode_image
    from frostline.serve.model import load_served

    with _logged() as text:
        served = load_served("first", Path("runs"))
    pixels = [decode_image(path) for path in samples(material)]
    found = served.explainer.neighbors(pixels, 2) if served.explainer and served.knows_neighbors else []
    neighbors = [[one.class_name for one in near] for near in found]
    answer = [list(served.classifier.class_names), served.classifier.predict_proba(pixels).tolist(), neighbors]
    return LoggedAnswer(answer, text.getvalue())


def onnx(material: Path) -> Answer:
    from frostline.inference.onnx import OnnxClassifier

    classifier = OnnxClassifier(Path("first.onnx"), 1)
    return [list(classifier.class_names), classifier.predict_proba(samples(material)).tolist()]


def explain(material: Path) -> LoggedAnswer:
    out, errors = command("explain", "first", samples(material)[0], "--format", "json", "--output", "explained")
    return LoggedAnswer(json.loads(out), errors)


def sample(material: Path) -> Answer:
    from frostline.runs.folder import Run
    from frostline.runs.sample import read_sample

    found = read_sample(Run("runs/first"))
    return [found.labels.tolist(), [[image.shape, image.tobytes().hex()] for image in found.images]]


def evaluate(material: Path) -> Answer:
    out, _ = command("evaluate", "first", "--cache-dir", "cache")
    return out[out.index("\n\n") :]


def runs(material: Path) -> LoggedAnswer:
    out, errors = command("runs")
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert "second" in rows, f"the other run's row is gone: {out}{errors}"
    row = rows.get("first", "")
    return LoggedAnswer([" ".join(rows["second"].split()), " ".join(row.split())], out + errors)


def compare(material: Path) -> LoggedAnswer:
    out, errors = command("compare", "first", "second")
    return LoggedAnswer(re.sub(r" +", " ", out), out + errors)


def report(material: Path) -> LoggedAnswer:
    out, errors = command("report", "first", "--output", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    return LoggedAnswer(page, page + out + errors)


def resume(material: Path) -> Answer:
    from frostline.runs.folder import Run

    command("train", material / "p", "--name", "stopped", "--resume", "--no-report", "--cache-dir", "cache", "--quiet")
    run = Run("runs/stopped")
    history = [(epoch.train_loss, epoch.val_loss, epoch.lr) for epoch in run.history]
    return [run.metrics["test"], run.metrics["val"], history]


def verify(material: Path) -> Answer:
    return command("cache", "verify", "--cache-dir", "cache")[0]


def list_cache(material: Path) -> LoggedAnswer:
    out, errors = command("cache", "list", "--cache-dir", "cache")
    lines = out[: out.rindex(" stores")].splitlines()
    rows = [[cell for cell in re.split(r" {2,}", line.strip()) if "MiB" not in cell] for line in sorted(lines)]
    return LoggedAnswer(
        [[cell for cell in row if not re.match(r"\d{4}-\d\d-|[\d.]+ ?[KM]i?B", cell)] for row in rows], out + errors
    )


def _splits(name: str, folder: Path | None = None) -> Answer:
    from frostline.data.registry import load_dataset

    splits = load_dataset(name, folder, cache_dir="cache")
    parts = [part for part in (splits.train, splits.val, splits.test) if part is not None]
    return [list(splits.train.class_names), [[part.labels.tolist(), part.fingerprint] for part in parts]]


def scan_memo(material: Path) -> Answer:
    return _splits(str(material / "p"))


def idx(material: Path) -> Answer:
    return _splits("fashion-mnist", Path("idx"))


def published(material: Path) -> Answer:
    return _splits("fashion-mnist", Path("published"))


def _weights(path: Path) -> Answer:
    from frostline.models.weights import read_state

    return sorted((name, list(tensor.shape), float(tensor.double().sum())) for name, tensor in read_state(path).items())


def config(material: Path) -> Answer:
    from frostline.cli.settings import read_settings

    return read_settings("train", None, Path("runs/first/config.toml"), {}).model_dump(mode="json")


def tune(material: Path) -> Answer:
    from tests.robustness.material import TUNE

    words = ["--name", "t", *TUNE, "--resume", "--cache-dir", "cache"]
    command("tune", material / "p", *words, "--quiet")
    with Path("tunes/t/trials.csv").open(newline="") as file:
        trials = [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    return [Path("tunes/t/config.toml").read_text(), trials]


def curve(material: Path) -> Answer:
    from tests.robustness.material import CURVE

    command("curve", material / "p", "--output-dir", "curves/c", *CURVE, "--cache-dir", "cache", "--quiet")
    return [row.rpartition(",")[0] for row in Path("curves/c/curve.csv").read_text().splitlines()]


def corrected(material: Path) -> Answer:
    words = ["--apply", "audits/a/audit.csv", "--output", "corrected.csv", "--cache-dir", "cache", "--quiet"]
    command("audit", material / "p", *words)
    return Path("corrected.csv").read_text()


RUN = "runs/first"
MODEL = (f"{RUN}/model/*.json", f"{RUN}/model/*.safetensors")
CACHE = ("cache/activations/*/*",)
RESULTS = (f"{RUN}/metrics.json", f"{RUN}/config.toml", f"{RUN}/manifest.json")
EVIDENCE = f"{RUN}/evidence.safetensors"
READERS: dict[str, Reader] = {
    "predict": Reader(predict, (RUN,), (*MODEL, f"{RUN}/config.toml", f"{RUN}/manifest.json"), 20),
    "bundle": Reader(bundle, (f"{RUN}/model",), MODEL, 24),
    "serve": Reader(serve, (RUN,), (*MODEL, f"{RUN}/config.toml", f"{RUN}/index.safetensors"), 14, partial=True),
    "onnx": Reader(onnx, ("first.onnx", "first.onnx.*"), ("first.onnx", "first.onnx.*"), 10),
    "explain": Reader(explain, (RUN,), (f"{RUN}/index.safetensors", *MODEL), 5, partial=True),
    "sample": Reader(sample, (RUN,), (f"{RUN}/sample.safetensors",), 5),
    "evaluate": Reader(evaluate, (RUN, "cache"), (*RESULTS, *MODEL), 8),
    "evaluate, cache": Reader(evaluate, (RUN, "cache"), CACHE, 6),
    "runs": Reader(runs, (RUN, "runs/second"), RESULTS, 20, partial=True),
    "compare": Reader(compare, (RUN, "runs/second"), (*RESULTS, EVIDENCE), 10, partial=True),
    "report": Reader(
        report, (RUN,), (*RESULTS, EVIDENCE, f"{RUN}/index.safetensors", f"{RUN}/history.csv", f"{RUN}/data.json"), 3,
        partial=True,
    ),
    "resume": Reader(
        resume, ("runs/stopped", "cache"),
        ("runs/stopped/checkpoint.safetensors", "runs/stopped/*.toml", "runs/stopped/*.json"), 2,
    ),
    "verify": Reader(verify, ("cache",), ("cache/activations/*/[ms]*[0-9n].[sj]*",), 10),
    "list": Reader(list_cache, ("cache",), CACHE, 8, partial=True),
    "scan memo": Reader(scan_memo, ("cache/scans",), ("cache/scans/*.json",), 10),
    "idx": Reader(idx, ("idx",), ("idx/*",), 16, checked=False),
    "published idx": Reader(published, ("published",), ("published/*",), 1),
    "csv": Reader(lambda _: _splits("tables/t.csv"), ("tables", "cache"), ("tables/t.csv",), 10, checked=False),
    "parquet": Reader(
        lambda _: _splits("tables/t.parquet"), ("tables", "cache"), ("tables/t.parquet",), 10, checked=False
    ),
    "npz": Reader(lambda _: _splits("tables/t.npz"), ("tables",), ("tables/t.npz",), 10),
    "pth": Reader(lambda _: _weights(Path("weights/w.pth")), ("weights",), ("weights/w.pth",), 21),
    "safetensors": Reader(
        lambda _: _weights(Path("weights/w.safetensors")), ("weights",), ("weights/w.safetensors",), 14, checked=False
    ),
    "config": Reader(config, (RUN,), (f"{RUN}/config.toml",), 14, checked=False),
    "tune": Reader(tune, ("tunes", "cache"), ("tunes/t/*.json", "tunes/t/study.db"), 2),
    "curve": Reader(curve, ("curves", "cache"), ("curves/c/*.json", "curves/c/points.jsonl"), 2),
    "corrected": Reader(corrected, ("audits", "cache"), ("audits/a/audit.csv",), 6, checked=False),
}  # fmt: skip

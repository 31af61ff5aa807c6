"""The report of a run: what it says is what metrics.json says, whatever classes are called and whatever is missing."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frostline.data.thumbnails import Thumbnails
from frostline.evaluation.calibration import before_and_after
from frostline.evaluation.metrics import Predictions, evaluate
from frostline.report.charts import draw_map
from frostline.report.contents import ReportContents, gather
from frostline.report.page import format_value, page, write_report
from frostline.runs.embedding_index import read_index
from frostline.runs.evidence import Evidence, read_evidence
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.report.conftest import NAMES
from tests.small_run import small_config

MIB = 1 << 20


class Page(HTMLParser):
    """Every tag, every ``<data>`` with its text, the cells of the confusion matrix, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[tuple[list[str | int], str, str]] = []
        self.cells: list[str] = []
        self.heads: list[str] = []  # of the rows and columns of the confusion matrix
        self.text = ""
        self._figure: dict[str, str | None] | None = None
        self._matrix = self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "data":
            self._figure = dict(attrs)
        if tag == "table":
            self._matrix = "data-metric" in dict(attrs)
        self._cell = tag == "td" and self._matrix and "class" in dict(attrs)
        if tag == "th" and self._matrix:
            self.heads.append(dict(attrs)["title"] or "")

    def handle_endtag(self, tag: str) -> None:
        self._figure = None if tag == "data" else self._figure
        self._cell = False
        if tag == "table":
            self._matrix = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._figure is not None:
            where, value = self._figure["data-metric"], self._figure["value"]
            assert where and value
            self.figures.append((json.loads(where), value, data))
        if self._cell:
            self.cells.append(data)


@pytest.fixture(scope="session")
def text(odd: Run) -> str:
    return page(gather(odd))


def entry(metrics: dict[str, Any], where: list[str | int]) -> Any:
    value: Any = metrics
    for key in where:
        value = value[key]
    return value


def test_every_figure_equals_metrics_json(odd: Run, text: str) -> None:
    metrics, found = odd.metrics, Page(text)
    forms = (".4f", ".3f", ",", "d", "percent", "seconds", "bytes")
    for where, value, shown in found.figures:
        exact = entry(metrics, where)
        assert value == repr(exact)
        assert shown in [
            format_value(exact, form) for form in forms if isinstance(exact, int) or form not in ("d", ",")
        ]
    named = {tuple(where) for where, _, _ in found.figures}
    assert {("test", "accuracy"), ("test", "accuracy_ci95", 0), ("total_seconds",), ("peak_memory_bytes",)} <= named
    assert {("test", "per_class", name, "f1") for name in NAMES} <= named
    assert {("calibration", "test", "ece", when) for when in ("before", "after")} <= named


def test_the_confusion_matrix_is_the_recorded_one(odd: Run, text: str) -> None:
    found = Page(text)
    columns, rows = found.heads[: len(NAMES)], found.heads[len(NAMES) :]
    assert columns == rows and sorted(rows) == sorted(NAMES)
    order = [NAMES.index(name) for name in rows]
    counts = np.array(odd.metrics["test"]["confusion"])[np.ix_(order, order)]
    assert [int(cell) for cell in found.cells] == counts.ravel().tolist()


def test_class_names_are_text_whatever_they_are(text: str) -> None:
    found = Page(text)
    assert not {"script", "iframe"} & {tag for tag, _ in found.tags}
    assert all((attributes["src"] or "").startswith("data:") for tag, attributes in found.tags if tag == "img")
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    for name in NAMES:
        assert name.strip() in found.text


def test_ids_stand_once_and_references_find_them(text: str) -> None:
    ids = [attributes["id"] for _, attributes in Page(text).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in Page(text).tags:
        for name in ("href", "xlink:href"):
            if (attributes.get(name) or "").startswith("#"):
                assert (attributes[name] or "")[1:] in ids


def test_the_same_run_gives_the_same_bytes(odd: Run, text: str, tmp_path: Path) -> None:
    written = write_report(odd, tmp_path / "again.html")
    assert written.read_bytes() == text.encode()
    assert len(text) < 3 * MIB


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("metrics.json", "results: metrics.json is missing"),
        ("evidence.safetensors", "galleries and reliability diagram: evidence.safetensors is missing"),
        ("index.safetensors", "embedding map: index.safetensors is missing"),
        ("history.csv", "learning curves: history.csv is missing"),
        ("model/model.safetensors", "filters: model/model.safetensors is missing"),
        ("data.json", "image counts: data.json is missing"),
        ("config.toml", "settings: config.toml is missing"),
    ],
)
def test_what_is_missing_is_said(odd: Run, tmp_path: Path, file: str, said: str) -> None:
    run = Run(shutil.copytree(odd.folder, tmp_path / "odd"))
    run.index.write_bytes(b"damaged") if file == "data.json" else None  # leaves the slow map out, and is said too
    (run.folder / file).unlink()
    found = Page(page(gather(run)))
    assert said in found.text
    assert "Reproduce this run" in found.text
    assert ("embedding map: index.safetensors is damaged" in found.text) == (file == "data.json")


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("metrics.json", "results"),
        ("evidence.safetensors", "galleries and reliability diagram"),
        ("history.csv", "learning curves"),
        ("model/model.safetensors", "filters"),
        ("data.json", "image counts"),
        ("config.toml", "settings"),
    ],
)
def test_file_that_is_not_the_one_of_the_run_is_named(odd: Run, tmp_path: Path, file: str, what: str) -> None:
    run = Run(shutil.copytree(odd.folder, tmp_path / "odd"))
    path = run.folder / file
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    found = gather(run)
    assert f"{what}: {file} is damaged" in found.missing
    shown = {
        "metrics.json": found.metrics, "evidence.safetensors": found.evidence, "history.csv": found.history,
        "model/model.safetensors": found.filters, "data.json": found.images, "config.toml": found.settings,
    }  # fmt: skip
    assert shown[file] in (None, {}, [])


def test_a_head_in_closed_form_has_no_epochs_to_show(small_fashion: Path, tmp_path: Path) -> None:
    for head, told in (("ridge", True), ("linear", False)):
        run = fit(small_config(small_fashion, head=head), name=head, output_dir=tmp_path / "runs", cache_dir=tmp_path)
        found = Page(page(gather(run)))
        assert ("was selected on the validation split" in found.text) == told
        assert (run.folder / "curves.png").exists() == (not told)
        assert ("covariance prior, estimated from synthetic images" in found.text) == told
        assert ("points above its" in found.text) == ("label smoothing" in found.text) == (not told)


def many_classes(classes: int = 300, images: int = 3000) -> ReportContents:
    """A run of many classes, its predictions drawn."""
    rng = np.random.default_rng(0)
    names = [f"species, no. {number}" for number in range(classes)]
    parts = []
    for _ in range(2):
        labels = rng.integers(0, classes, images)
        logits = rng.normal(size=(images, classes)) + 6 * rng.random((images, 1)) * np.eye(classes)[labels]
        powers = np.exp(logits)
        parts.append(Predictions((powers / powers.sum(1, keepdims=True)).astype(np.float32), labels))
    val, test = parts
    model = {"name": "alexnet", "freeze": "none", "taps": [], "image_size": 64, "head": "mlp"}
    metrics: dict[str, Any] = {
        "test": evaluate(*test.pair, names), "val": evaluate(*val.pair, names),
        "calibration": before_and_after(0.7, {"val": val.pair, "test": test.pair}),
        "frozen_pass": {"images": 0, "from_cache": 0, "seconds": 0.0}, "training": {"best_epoch": 1, "seconds": 9000.0},
        "weights": {}, "model": model | {"parameters": 10, "trainable_parameters": 10}, "data": {"name": "species"},
        "seed": 0, "versions": dict.fromkeys(("frostline", "python", "torch", "numpy"), "1"), "device": "cpu",
        "bit_reproducible": True, "peak_memory_bytes": 1, "total_seconds": 9000.0,
    }  # fmt: skip
    shown = Thumbnails(np.empty(0, np.int64), [], [])
    return ReportContents("many", metrics=metrics, evidence=Evidence(val, test, shown))


def test_hundreds_of_classes_are_drawn_instead_of_written() -> None:
    found = page(many_classes())
    assert len(found) < 3 * MIB
    assert "300 classes are too many for a table" in Page(found).text
    assert "species, no. 299" in found
    assert Page(found).cells == []
    assert found.count('<td class="said">→ species, no.') == 40
    assert "260 classes</summary>" in found


def test_untested_classes_and_numbers_without_meaning_are_not_shown_as_results() -> None:
    many = many_classes(4, 30)
    evidence = many.evidence
    assert evidence is not None
    labels = np.where(evidence.test.labels == 3, 2, evidence.test.labels)
    names = many.class_names
    many.metrics["test"] = evaluate(evidence.test.probabilities, labels, names)
    found = Page(page(many))
    assert "top-5 accuracy" not in found.text
    assert found.text.count("not tested") == 2  # the explanation and the class
    assert ["test", "per_class", names[3], "f1"] not in [where for where, _, _ in found.figures]
    assert "in 15 bins; with 30 images the diagrams have 3" in found.text
    assert "top-5 accuracy" in Page(page(many_classes(6, 30))).text


def test_points_that_are_all_the_same_are_no_map(odd: Run) -> None:
    index, test = read_index(odd.index), read_evidence(odd).test
    same = replace(index, test_points=torch.ones_like(index.test_points))
    assert draw_map(same, test, list(NAMES)) is None
    assert draw_map(replace(same, test_points=same.test_points * float("nan")), test, list(NAMES)) is None

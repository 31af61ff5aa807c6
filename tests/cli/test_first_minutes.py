"""The first minutes with a folder: what `data check` and `train` say about it, and that they agree."""

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.data.registry import load_dataset
from frostline.evaluation.summary import summarize
from frostline.runs.folder import Run
from tests.conftest import Frostline

SMALL = ("--weights", "random", "--image-size", 63, "--taps", "none", "--head", "ridge", "--prior", "none")
COLORS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


def draw(path: Path, color: tuple[int, int, int], seed: int) -> None:
    """Draw a square of a color on noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(90, 160, (48, 48, 3), dtype=np.uint8)
    top, left = rng.integers(2, 14, 2)
    pixels[top : top + 32, left : left + 32] = color
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_squares(root: Path, counts: dict[str, int]) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            draw(root / name / f"{i:02d}.png", COLORS[name], 100 * number + i)
    return root


def last_sentences(stdout: str) -> list[str]:
    """The paragraph before the last line."""
    *_, paragraph, last = stdout.rstrip().split("\n\n")
    assert last.startswith("run folder: ")
    return paragraph.splitlines()


def trained(frostline: Frostline, root: Path, *options: object) -> tuple[list[str], dict]:
    """Train, and check the folder: neither may refuse it. Return the sentences and ``metrics.json``."""
    checked = frostline("data", "check", root.name)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.endswith(f"{root.name}: train accepts it\n")
    done = frostline("train", root.name, *SMALL, "--name", "a", *options)
    assert (done.returncode, done.stderr) == (0, "")
    metrics = Run.load("a", root.parent / "runs").metrics
    sentences = last_sentences(done.stdout)
    assert sentences == summarize(metrics)
    return sentences, metrics


def without_spaces(texts: Iterable[str]) -> list[str]:
    return [re.sub(r"\s", "", text) for text in texts]


def test_a_folder_without_faults_reaches_the_ceiling(frostline: Frostline, tmp_path: Path) -> None:
    root = write_squares(tmp_path / "squares", {"red": 30, "blue": 30})
    (good, compared, advice), metrics = trained(frostline, root)
    test = metrics["test"]["images"]
    assert good.startswith(f"The model got 100 % of {test} test images right")
    assert compared.startswith("Guessing among the 2 classes would get 50 % right, always answering “")
    assert advice.startswith(f"These {test} test images can show no further progress")

    page = (tmp_path / "runs/a/report.html").read_text(encoding="utf-8")
    (block,) = re.findall(r'<div class="summary">(.*?)</div>', page, re.DOTALL)
    shown = [html.unescape(text) for text in re.findall("<p>(.*?)</p>", block)]
    assert without_spaces(shown) == without_spaces([good, compared, advice])
    (tmp_path / "runs/a/report.html").unlink()
    assert frostline("report", "a").returncode == 0
    assert (tmp_path / "runs/a/report.html").read_text(encoding="utf-8") == page


def test_wrong_labels_are_named(frostline: Frostline, tmp_path: Path) -> None:
    root = write_squares(tmp_path / "squares", {"red": 40, "green": 40, "blue": 40})
    wrong = {"green": "red", "blue": "green", "red": "blue"}
    for truth, label in wrong.items():
        for i in range(3):
            (root / truth / f"{i:02d}.png").rename(root / label / f"was-{truth}-{i}.png")
    (*_, advice), metrics = trained(frostline, root, "--no-report")
    suspected = metrics["held_out"]["suspected"]
    assert re.match(rf"Look at these {len(suspected)} labels, which may be wrong: \w+/was-", advice)
    assert len(suspected) >= 4
    assert all(f"was-{one['predicted']}-" in one["image"] for one in suspected)
    tested = {str(path) for path in load_dataset(str(root)).test.images}
    assert not tested & {one["image"] for one in suspected}


def test_images_of_a_single_color_are_named(frostline: Frostline, tmp_path: Path) -> None:
    root = write_squares(tmp_path / "squares", {"red": 20, "blue": 20})
    for i in range(3):
        Image.new("RGB", (40, 40), (i, 2 * i, 3 * i)).save(root / "red" / f"blank-{i}.png")
    (*_, advice), _ = trained(frostline, root, "--no-report")
    assert advice == (
        "Replace or remove the 3 images of a single color, such as red/blank-0.png, red/blank-1.png, red/blank-2.png: "
        "they show nothing."
    )


def test_a_class_too_small_to_be_tested_is_named_once(frostline: Frostline, tmp_path: Path) -> None:
    root = write_squares(tmp_path / "squares", {"red": 20, "green": 2, "blue": 20})
    (root / "red" / "notes.txt").write_text("mine")
    (root / "red" / "broken.png").write_text("no image")
    done = frostline("train", "squares", *SMALL, "--name", "b", "--no-report")
    lines = done.stdout.splitlines()
    for fact in (
        "weights: random",
        "in training only, ",
        "1 file is left out: 1 .txt",
        "cannot be read and are left out",
    ):
        assert len([line for line in lines if fact in line]) == 1, fact
    (*_, advice), _ = trained(frostline, root, "--no-report")
    assert advice == "Add images of “green” (2): it has too few to be tested, so the accuracy says nothing about them."
    checked = frostline("data", "check", "squares").stdout
    assert "note: test labels: add images of green: test has none" in checked


def test_images_in_two_splits_are_named(frostline: Frostline, tmp_path: Path) -> None:
    root = write_squares(tmp_path / "squares" / "train", {"red": 20, "blue": 20}).parent
    for name in ("red", "blue"):
        draw(root / "test" / name / "new.png", COLORS[name], 999)
        for i in range(3):
            (root / "test" / name / f"{i}.png").write_bytes((root / "train" / name / f"{i:02d}.png").read_bytes())
    (*_, advice), _ = trained(frostline, root, "--no-report")
    assert advice.startswith("First move or remove the 6 test images that are also, or almost, in training")


def test_verbose_prints_the_rest_of_the_log(frostline: Frostline, tmp_path: Path) -> None:
    write_squares(tmp_path / "squares", {"red": 8, "blue": 8})
    options = ("train", "squares", *SMALL, "--no-report", "--name")
    short, verbose = frostline(*options, "a").stdout, frostline(*options, "b", "--verbose").stdout
    for detail in ("device: ", "ridge: L2 strength"):
        assert detail not in short and detail in verbose
        assert all(detail in (tmp_path / "runs" / name / "log.txt").read_text() for name in "ab")
    log = short.partition("\n\n")[0].splitlines()
    assert len(log) <= 8


@pytest.mark.parametrize("fault", ["one class", "two classes", "no images"])
def test_what_train_refuses_is_refused_by_the_check(frostline: Frostline, tmp_path: Path, fault: str) -> None:
    root = write_squares(tmp_path / "squares", {"red": 6, "blue": 6})
    if fault == "one class":
        (root / "blue").rename(tmp_path / "blue")
    elif fault == "two classes":
        (root / "blue" / "copy.png").write_bytes((root / "red" / "00.png").read_bytes())
    else:
        for path in root.rglob("*.png"):
            path.unlink()
    checked, done = frostline("data", "check", "squares"), frostline("train", "squares", *SMALL)
    assert checked.returncode == done.returncode == 2
    assert checked.stderr.replace("squares", str(root), 1).split(":")[0] == done.stderr.split(":")[0]


def test_an_archive_is_answered_with_what_to_do(frostline: Frostline, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    for command in (("train",), ("data", "check")):
        done = frostline(*command, "photos.zip")
        assert done.returncode == 2
        assert done.stderr.endswith(
            "photos.zip is an archive: unpack it, and give the folder that holds the class folders.\n"
        )


def test_the_facts_are_in_metrics_json(frostline: Frostline, tmp_path: Path) -> None:
    write_squares(tmp_path / "squares", {"red": 10, "blue": 6})
    assert frostline("train", "squares", *SMALL, "--name", "a", "--no-report").returncode == 0
    metrics = json.loads((tmp_path / "runs/a/metrics.json").read_text())
    train, val = metrics["data"]["images"]["train"], metrics["data"]["images"]["val"]
    assert sum(metrics["data"]["class_images"]["train"].values()) == train
    assert metrics["held_out"]["images"] == train + val
    assert metrics["model"]["compared"] is False

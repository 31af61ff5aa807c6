"""Runs whose images were moved: an early error, and `--data` for the new location."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.config import TrainConfig
from frostline.inference.classifier import Classifier
from frostline.inference.onnx import OnnxClassifier
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.conftest import Frostline
from tests.small_run import reseal

GONE = "the images of run 'moved' are no longer at {}: they were moved, renamed or removed. Give their new location"


def write_classes(root: Path) -> Path:
    draw = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (root / name).mkdir(parents=True)
        for number in range(12):
            pixels = draw.integers(0, 120, (40, 40, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, Path]:
    """A run, the old and the new location of its images."""
    place = tmp_path_factory.mktemp("moved")
    before = write_classes(place / "before")
    config = TrainConfig(
        data=str(before), weights="random", image_size=64, taps="none", head="linear", epochs=2, val_fraction=0.25
    )
    run = fit(config, name="moved", output_dir=place / "runs", cache_dir=place / "cache")
    after = place / "after"
    before.rename(after)
    return run, before, after


@pytest.mark.parametrize("command", ["evaluate", "export", "audit"])
def test_missing_images_are_an_early_error(
    frostline: Frostline, moved: tuple[Run, Path, Path], command: str, tmp_path: Path
) -> None:
    run, before, _ = moved
    folder = shutil.copytree(run.folder, tmp_path / "runs" / "moved")
    (folder / "sample.safetensors").unlink()  # as in runs of earlier versions
    reseal(folder)
    done = frostline(command, folder)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("frostline: " + GONE.format(before))


def test_data_names_the_new_location(frostline: Frostline, moved: tuple[Run, Path, Path], tmp_path: Path) -> None:
    run, _, after = moved
    done = frostline("evaluate", run.folder, "--data", after)
    assert done.returncode == 0, done.stderr
    accuracy = f"{run.metrics['test']['accuracy']:.4f}"
    assert f"recorded when the run finished: {accuracy}; now: {accuracy}" in done.stdout
    shutil.copytree(after, tmp_path / "here")
    done = frostline("audit", run.folder, "--data", "here", "--output-dir", "audits", "--name", "x")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "audits" / "x" / "audit.json").read_text())


def test_explain_and_report_need_the_run_alone(frostline: Frostline, moved: tuple[Run, Path, Path]) -> None:
    run, _, after = moved
    image = after / "red" / "00.png"
    done = frostline("explain", run.folder, image, "--format", "json", "--top", 1, "--neighbors", 2)
    assert (done.returncode, done.stderr) == (0, "")
    (explained,) = json.loads(done.stdout)["images"]
    assert len(explained["neighbors"]) == 2
    done = frostline("report", run.folder, "--output", "report.html")
    assert (done.returncode, done.stderr) == (0, "")


def test_export_takes_the_new_location(frostline: Frostline, moved: tuple[Run, Path, Path], tmp_path: Path) -> None:
    run, _, after = moved
    done = frostline("export", run.folder, "--data", after)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "moved.onnx").is_file()


def test_export_needs_the_run_alone(frostline: Frostline, moved: tuple[Run, Path, Path], tmp_path: Path) -> None:
    run, before, after = moved
    elsewhere = shutil.copytree(run.folder, tmp_path / "elsewhere" / "moved")
    done = frostline("export", elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if "no longer" in line]
    assert line.startswith(GONE.format(before))
    assert line.endswith("Comparing on the 4 validation images that the run keeps in sample.safetensors.")
    assert json.loads((tmp_path / "moved.onnx.parity.json").read_text())["images"] == 4
    files = sorted(after.rglob("*.png"))
    found, expected = OnnxClassifier(tmp_path / "moved.onnx"), Classifier.load(run.folder)
    assert np.abs(found.predict_proba(files) - expected.predict_proba(files)).max() <= 1e-4


def test_damaged_sample_is_named(frostline: Frostline, moved: tuple[Run, Path, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(moved[0].folder, tmp_path / "moved")
    (folder / "sample.safetensors").write_bytes(b"no")
    done = frostline("export", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "moved/sample.safetensors is not the file that Frostline wrote" in done.stderr


def test_show_says_that_the_images_are_gone(frostline: Frostline, moved: tuple[Run, Path, Path]) -> None:
    run, before, _ = moved
    done = frostline("runs", "show", run.folder)
    assert done.returncode == 0
    assert f"{before} (no longer there: --data PATH gives the new place)" in done.stdout


def test_wrong_data_option_is_named(frostline: Frostline, moved: tuple[Run, Path, Path]) -> None:
    run, _, _ = moved
    for command in ("evaluate", "export"):
        done = frostline(command, run.folder, "--data", "nowhere")
        assert (done.returncode, done.stdout) == (2, "")
        assert "nowhere" in done.stderr and len(done.stderr.splitlines()) == 1


def test_data_option_needs_a_run(frostline: Frostline, moved: tuple[Run, Path, Path]) -> None:
    done = frostline("audit", moved[2], "--data", "elsewhere")
    assert done.returncode == 2
    assert "is not a run: leave it out" in done.stderr


def test_predict_needs_no_data_and_works_from_any_folder(frostline: Frostline, moved: tuple[Run, Path, Path]) -> None:
    run, _, after = moved
    done = frostline("predict", run.folder, after, "--format", "json", "--top", 1, "--reject", 0.05)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
    assert len(json.loads(done.stdout)) == 24

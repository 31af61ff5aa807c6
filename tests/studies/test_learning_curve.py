"""Accuracy against labels, on 1,200 real images."""

import json
from dataclasses import replace

import numpy as np
import pytest

from frostline._utils.manifest import write_manifest
from frostline.config import TrainConfig
from frostline.errors import RunError
from frostline.studies.learning_curve import curve
from frostline.studies.learning_curve_results import ALL, CurveSpec

QUICK = CurveSpec(labels=(2, 8, ALL), ways=("pixels", "random-frozen", "frozen"), repeats=2)
TRAINED = CurveSpec(labels=(8,), ways=("fine-tuned", "scratch"), repeats=1, seconds=10)


@pytest.fixture
def config(small_fashion):
    return TrainConfig(data="fashion-mnist", data_dir=small_fashion, weights="bundled", image_size=64)


def accuracies(points):
    return {(point.way, point.labels, point.repeat): point.accuracy for point in points}


def test_frozen_ways_learn_more_from_more_labels_and_share_one_pass(config, tmp_path, caplog):
    with caplog.at_level("INFO", "frostline"):
        points = curve(config, QUICK, tmp_path / "curve")
    passes = [record for record in caplog.records if "images to compute" in record.getMessage()]
    assert len(passes) == 4  # for each set of weights one over the images with labels, one over the test split
    found = accuracies(points)
    assert len(found) == 3 * (2 * 2 + 1)
    for way in QUICK.ways:
        assert found[way, ALL, 0] > found[way, 2, 0]
    assert found["frozen", ALL, 0] > found["random-frozen", ALL, 0] and found["frozen", 8, 0] > 0.55
    assert sorted(path.name for path in (tmp_path / "curve").iterdir()) == [
        "curve.csv", "curve.png", "lock", "manifest.json", "points.jsonl", "settings.json", "summary.txt",
    ]  # fmt: skip


def test_the_time_limit_is_used(config, tmp_path):
    points = curve(config, TRAINED, tmp_path / "curve")
    assert all(2 < point.seconds < 2 * TRAINED.seconds for point in points), points
    found = accuracies(points)
    assert found["fine-tuned", 8, 0] > found["scratch", 8, 0]
    assert found["fine-tuned", 8, 0] > 0.5
    assert all(point.epochs > 3 for point in points)
    assert points[0].way == "fine-tuned" and points[0].epochs > 100  # 100 of them for the head alone


def test_an_interrupted_curve_is_completed(config, tmp_path):
    spec = replace(QUICK, ways=("pixels",))
    whole = curve(config, spec, tmp_path / "whole")
    curve(config, replace(spec, repeats=1), tmp_path / "part")
    lines = tmp_path / "part" / "points.jsonl"
    lines.write_text(lines.read_text() + '{"way": "pixels", "lab')  # killed while it wrote
    before = lines.read_text().splitlines()[0]
    again = curve(config, spec, tmp_path / "part")
    assert accuracies(again) == accuracies(whole)
    written = lines.read_text().splitlines()
    assert written[0] == before  # measured once
    assert len(written) == len({tuple(json.loads(line).values())[:3] for line in written}) == 5


def test_other_settings_are_not_mixed(config, tmp_path):
    spec = replace(QUICK, ways=("pixels",), labels=(2,))
    curve(config, spec, tmp_path / "curve")
    with pytest.raises(RunError, match=r"the curve in .* was started with seed = 0, not 1 \(by .*settings\.json\): "):
        curve(config.model_copy(update={"seed": 1}), spec, tmp_path / "curve")
    other = curve(config.model_copy(update={"seed": 1}), spec, tmp_path / "curve", overwrite=True)
    assert len(other) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(RunError, match="exists and is not a curve"):
        curve(config, spec, tmp_path / "mine")


def test_added_points_are_of_the_network_that_the_images_chose(fashion, tmp_path, monkeypatch, caplog):
    np.savez(tmp_path / "mine.npz", images=np.asarray(fashion.train.images[:200]), labels=fashion.train.labels[:200])
    config = TrainConfig(data=str(tmp_path / "mine.npz"), image_size=64, prior="none")
    spec = CurveSpec(labels=(2,), ways=("frozen", "random-frozen"), repeats=1)
    monkeypatch.setattr("frostline.pipeline.rank.candidates", lambda context: ["efficientnet-lite0"])
    curve(config, spec, tmp_path / "curve")
    chosen = json.loads((tmp_path / "curve" / "settings.json").read_text())["network"]
    assert chosen["model"] == "efficientnet-lite0"
    monkeypatch.setattr("frostline.pipeline.rank.candidates", lambda context: ["alexnet"])
    caplog.set_level("INFO", "frostline")
    assert len(curve(config, replace(spec, repeats=2), tmp_path / "curve")) == 4
    assert "trying" not in caplog.text and "conv1" not in caplog.text
    assert json.loads((tmp_path / "curve" / "settings.json").read_text())["network"] == chosen


def test_a_damaged_point_is_named_and_measured_again(config, tmp_path, caplog):
    spec = replace(QUICK, ways=("pixels",), labels=(2, 3), repeats=2)
    whole = accuracies(curve(config, spec, tmp_path / "curve"))
    lines = tmp_path / "curve" / "points.jsonl"
    written = lines.read_text().splitlines()
    first = json.loads(written[0])
    written[0] = json.dumps(first | {"accuracy": first["accuracy"] / 2})  # a wrong number is not taken
    written[2] = written[2].replace("{", "[", 1)
    lines.write_bytes("\n".join(written).encode() + b"\n\xff\xfe\n")
    again = accuracies(curve(config, spec, tmp_path / "curve"))
    assert again == whole
    assert f"{lines} is damaged in line 1, 3, 5: measured again" in caplog.text
    assert len(lines.read_text().splitlines()) == 4


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 9000, b"\xff", b'{"config": 1, "question": {}}'])
def test_damaged_settings_are_named(config, tmp_path, content):
    write_manifest(tmp_path / "curve", "curve")
    (tmp_path / "curve" / "settings.json").write_bytes(content)
    with pytest.raises(RunError, match=r"settings\.json is damaged .*: --overwrite starts over"):
        curve(config, QUICK, tmp_path / "curve")


def test_overwriting_a_curve_keeps_other_files(config, tmp_path):
    spec = replace(QUICK, ways=("pixels",), labels=(2,), repeats=1)
    curve(config, spec, tmp_path / "curve")
    (tmp_path / "curve" / "thesis.txt").write_text("keep me")
    (tmp_path / "curve" / "manifest.json").unlink()  # as an earlier version left it
    curve(config.model_copy(update={"seed": 1}), spec, tmp_path / "curve", overwrite=True)
    assert (tmp_path / "curve" / "thesis.txt").read_text() == "keep me"
    (tmp_path / "curve" / "curve.csv").unlink()
    (tmp_path / "curve" / "curve.csv").symlink_to(tmp_path / "curve" / "thesis.txt")
    with pytest.raises(RunError, match=r"curve\.csv is a symbolic link"):
        curve(config, spec, tmp_path / "curve", overwrite=True)
    assert (tmp_path / "curve" / "thesis.txt").read_text() == "keep me"

"""`frostline evaluate`."""

import shutil

from tests.small_run import unfinish


def test_recorded_result_is_reproduced(frostline, finished, run_cache):
    place = finished.folder.parent
    done = frostline("evaluate", "first", "--output-dir", place, "--cache-dir", run_cache)
    assert (done.returncode, done.stderr) == (0, "")
    test = finished.metrics["test"]
    assert "features found in the cache" in done.stdout
    assert "first: test split" in done.stdout
    assert ["loss", f"{test['loss']:.4f}"] in [line.split() for line in done.stdout.splitlines()]
    accuracy = f"{test['accuracy']:.4f}"
    before = finished.metrics["calibration"]["test"]["ece"]["before"]
    assert ["uncalibrated", f"{before:.4f}"] in [line.split() for line in done.stdout.splitlines()]
    assert f"\nrecorded when the run finished: {accuracy}; now: {accuracy}\n" in done.stdout
    assert done.stdout.endswith(f"validation accuracy: {finished.metrics['val']['accuracy']:.4f}\n")


def test_views_are_averaged_on_request(frostline, finished, run_cache):
    place = finished.folder.parent
    done = frostline("evaluate", "first", "--tta", 2, "--output-dir", place, "--cache-dir", run_cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert "first: test split, averaged over 2 views" in done.stdout
    assert "; now, averaged over 2 views: 0." in done.stdout


def test_quiet_prints_nothing(frostline, finished):
    done = frostline("evaluate", finished.folder, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_unfinished_run_is_refused(frostline, finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "runs" / "begun")
    unfinish(folder)
    done = frostline("evaluate", "begun")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "run 'begun' has no results yet: `frostline train … --name begun --resume` finishes it." in line


def test_a_damaged_model_is_named(frostline, finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "runs" / "copy")
    path = folder / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    done = frostline("evaluate", "copy")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "model.safetensors is not the file that Frostline wrote (its checksum is wrong)" in line

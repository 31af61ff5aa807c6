"""`frostline runs`."""

import os
import shutil

from tests.small_run import unfinish


def test_without_runs_the_command_to_create_one_is_printed(frostline):
    done = frostline("runs")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no runs in runs: create one with `frostline train fashion-mnist`\n"


def test_runs_are_listed_side_by_side(frostline, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "runs" / "copy")
    stopped = shutil.copytree(finished.folder, tmp_path / "runs" / "stopped")
    unfinish(stopped)
    done = frostline("runs")
    assert (done.returncode, done.stderr) == (0, "")
    heading, first, second = done.stdout.splitlines()
    assert heading.split()[:3] == ["run", "data", "weights"]
    metrics = finished.metrics
    assert first.split()[:9] == ["copy", "fashion-mnist", "random", "conv5", "boundary", "linear", "64", "0.003", "0"]
    assert first.split()[9:11] == [f"{metrics[split]['accuracy']:.4f}" for split in ("val", "test")]
    assert second.split()[0] == "stopped"
    assert second.split()[-1] == "unfinished"


def test_output_dir(frostline, finished):
    done = frostline("runs", "--output-dir", finished.folder.parent)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["run", "first"]


def test_damaged_run_is_listed_with_the_others(frostline, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "runs" / "whole")
    folder = shutil.copytree(finished.folder, tmp_path / "runs" / "copy")
    (folder / "metrics.json").write_text('{"schema"')
    done = frostline("runs")
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "damaged: runs/copy/metrics.json" in rows["copy"]
    assert f"{finished.metrics['test']['accuracy']:.4f}" in rows["whole"]


def test_any_damage_is_one_row(frostline, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "runs" / "whole")
    harm = {
        "nested": lambda path: path.write_text("[" * 100_000),
        "piped": lambda path: (path.unlink(), os.mkfifo(path)),
        "folder": lambda path: (path.unlink(), path.mkdir()),
        "loop": lambda path: (path.unlink(), path.symlink_to(path.name)),
        "binary": lambda path: path.write_bytes(bytes(range(256)) * 40),
        "empty": lambda path: path.write_bytes(b""),
    }
    for name, damage in harm.items():
        for file in ("metrics.json", "config.toml"):
            damage(shutil.copytree(finished.folder, tmp_path / "runs" / f"{name}-{file}") / file)
    done = frostline("runs", timeout=20)
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert set(rows) == {"whole", *(f"{name}-{file}" for name in harm for file in ("metrics.json", "config.toml"))}
    assert f"{finished.metrics['test']['accuracy']:.4f}" in rows.pop("whole")
    for name, row in rows.items():
        assert "damaged: " in row and name.split("-")[1] in row, row
    assert "Traceback" not in done.stderr

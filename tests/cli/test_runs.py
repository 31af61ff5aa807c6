"""`frostline runs`."""

import os
import pty
import shutil
import subprocess

import pytest

from tests.conftest import COMMAND
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


@pytest.fixture
def copies(finished, tmp_path):
    """Two copies of a finished run, in ``runs``."""
    return [shutil.copytree(finished.folder, tmp_path / "runs" / name) for name in ("one", "two")]


def test_show_names_settings_and_results(frostline, finished, copies):
    done = frostline("runs", "show", "one")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    assert "runs/one" in rows["folder"] and "finished" in rows["state"]
    assert "alexnet, random weights" in rows["network"]
    assert "epochs=6" in rows["other settings"] and "seed=" not in rows["other settings"]
    assert finished.config.prior == "drawn" and "prior=" not in rows["other settings"]  # of a head in closed form
    assert f"{finished.metrics['test']['accuracy']:.4f}" in rows["accuracy"]


def test_show_of_an_unfinished_run_says_how_to_continue(frostline, copies):
    unfinish(copies[0])
    done = frostline("runs", "show", "one")
    assert done.returncode == 0
    assert "not finished: `frostline train … --name one --resume` continues it" in done.stdout


def test_folder_of_the_runs_may_stand_before_the_command(frostline, finished):
    done = frostline("runs", "--output-dir", finished.folder.parent, "show", "first")
    assert done.returncode == 0
    assert str(finished.folder) in done.stdout


def test_rm_removes_runs(frostline, copies, tmp_path):
    (tmp_path / "runs" / "mine.txt").write_text("mine")
    done = frostline("runs", "rm", "one", copies[1], "two", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("removed runs/one, ")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine.txt"]


def test_rm_asks_and_takes_no_for_an_answer(copies, tmp_path):
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"n\n")
        done = subprocess.run(
            [COMMAND, "runs", "rm", "one"], check=False, cwd=tmp_path, stdin=theirs, capture_output=True, text=True
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0
    assert "Remove runs/one (" in done.stdout and done.stdout.endswith("nothing was removed\n")
    assert copies[0].is_dir()


def test_rm_without_a_terminal_asks_for_yes(frostline, copies):
    done = frostline("runs", "rm", "one")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "frostline: there is no terminal to confirm on: add --yes to remove runs/one.\n"
    assert copies[0].is_dir()


def test_rm_names_files_that_are_not_ours_and_removes_nothing(frostline, copies):
    (copies[1] / "notes.txt").write_text("mine")
    (copies[1] / "model" / "other").mkdir()
    before = sorted(copies[1].rglob("*"))
    done = frostline("runs", "rm", "one", "two", "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert "run 'two' contains what Frostline did not write (model/other/, notes.txt): move it away" in done.stderr
    assert copies[0].is_dir() and sorted(copies[1].rglob("*")) == before


def test_rm_follows_no_links(frostline, copies, tmp_path):
    (tmp_path / "runs" / "link").symlink_to(copies[0], target_is_directory=True)
    done = frostline("runs", "rm", "link", "--yes")
    assert done.returncode == 2
    assert "runs/link is a symbolic link: leave it out." in done.stderr
    outside = tmp_path / "outside"
    (copies[1] / "model").rename(outside)
    (copies[1] / "model").symlink_to(outside, target_is_directory=True)
    done = frostline("runs", "rm", "two", "--yes")
    assert done.returncode == 2
    assert "is a symbolic link, not a file that Frostline wrote: move it away, or leave it out." in done.stderr
    assert len(list(outside.iterdir())) > 1 and len(list(copies[0].iterdir())) > 1


def test_rm_takes_only_runs(frostline, copies, tmp_path):
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "a.txt").write_text("mine")
    done = frostline("runs", "rm", "other", "--yes")
    assert done.returncode == 2
    assert "no run 'other' in runs: runs there: one, two." in done.stderr
    assert (tmp_path / "runs" / "other" / "a.txt").is_file()

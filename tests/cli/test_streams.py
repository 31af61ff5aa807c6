"""Standard output and standard error that are closed, full or cannot encode a character."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.commands import started
from tests.conftest import COMMAND
from tests.small_run import OPTIONS


@contextmanager
def stream_to(number: int, place: str) -> Iterator[None]:
    """Redirect a stream to a file or device."""
    os.dup2(os.open(place, os.O_WRONLY), number)
    yield


@contextmanager
def reader_gone(number: int = 1) -> Iterator[None]:
    """Close the reading end of a stream."""
    reader, writer = os.pipe()
    os.dup2(writer, number)
    os.close(reader)
    yield


@contextmanager
def encoded(name: str) -> Iterator[None]:
    """Set the encoding of the terminal."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding=name, errors="strict")
    yield


@contextmanager
def working_directory_gone() -> Iterator[None]:
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()
    yield


@pytest.fixture
def train(frostline, small_fashion):
    fixed = ["--data-dir", small_fashion, "--limit", 60, "--val-fraction", 0.2, "--epochs", 1, "--name", "mine"]
    return partial(frostline, "train", "fashion-mnist", *fixed, *OPTIONS)


def test_characters_missing_from_the_encoding_are_escaped(train, finished, frostline, tmp_path):
    done = train(within=partial(encoded, "latin-1"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2026" in done.stdout
    assert (tmp_path / "runs" / "mine" / "metrics.json").is_file()
    copy = shutil.copytree(finished.folder, tmp_path / "靴")
    listed = frostline("predict", copy, "nothing.png", within=partial(encoded, "ascii"))
    assert (listed.returncode, listed.stderr) == (
        2,
        "frostline: no images found: nothing.png does not exist: check the path.\n",
    )


def test_train_finishes_when_the_pipe_is_closed(train, tmp_path):
    done = train(within=reader_gone)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "runs" / "mine" / "metrics.json").is_file()


def test_the_installed_script_survives_head(tmp_path):
    done = subprocess.run(
        f"set -o pipefail; {COMMAND} train --help | head -1", shell=True, cwd=tmp_path, capture_output=True, text=True,
        executable="/bin/bash", check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: frostline train")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full device")
def test_train_finishes_on_a_full_device_and_reports_it(train, tmp_path):
    done = train(within=partial(stream_to, 1, "/dev/full"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("frostline: cannot write to standard output: the disk is full")
    assert (tmp_path / "runs" / "mine" / "metrics.json").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full device")
@pytest.mark.parametrize("within", [partial(stream_to, 2, "/dev/full"), partial(reader_gone, 2)])
def test_failing_standard_error_is_ignored(frostline, finished, within):
    assert frostline("runs", "--output-dir", finished.folder.parent, within=within).returncode == 0
    assert frostline("runs", "--outputdir", "x", within=within).returncode == 2


def test_streams_closed_before_the_start(finished, tmp_path):
    command = f"{COMMAND} runs --output-dir {finished.folder.parent} >&- 2>&- <&-"
    assert subprocess.run(command, shell=True, cwd=tmp_path, check=False).returncode == 0


def test_a_deleted_working_directory_is_one_line(frostline):
    done = frostline("runs", within=working_directory_gone)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("frostline: the working directory cannot be used (No such file or directory)")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "p", "--name", ""], "--name"),
        (["train", "p", "--name="], "--name"),
        (["train", "--config", ""], "--config"),
        (["export", "x", "--output", ""], "--output"),
        (["predict", "x", "y", "--output-dir", ""], "--output-dir"),
        (["predict", "x", ""], "an argument is empty"),
    ],
)
def test_an_empty_value_is_a_mistake(frostline, arguments, named):
    done = frostline(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert named in line and "give one, or leave it out" in line


def test_control_characters_in_names_are_escaped(frostline, finished, tmp_path):
    name = "\x1b[31mred\x9b\u202e\nline"
    folder = shutil.copytree(finished.folder, tmp_path / "runs" / name)
    (folder / "metrics.json").write_text("[")
    for arguments in (["runs"], ["predict", name, name], ["report", "no \x1b[2J run"], ["train", name]):
        done = frostline(*arguments)
        for text in (done.stdout, done.stderr):
            assert not {"\x1b", "\x9b", "\u202e"} & set(text), arguments
        assert len(done.stderr.splitlines()) <= 1


def test_run_can_be_resumed_after_sigterm(small_fashion, tmp_path):
    options = [*OPTIONS, "--limit", 600, "--epochs", 200, "--patience", 200, "--name", "long", "--head", "mlp"]
    words = ["train", "fashion-mnist", "--data-dir", small_fashion, *options]
    with started(words, tmp_path, dict(os.environ)) as (process, output):
        for line in output:
            if line.startswith("epoch   2/200"):
                os.kill(process.pid, signal.SIGTERM)
                break
        rest = output.read()
    assert process.exitcode == 128 + signal.SIGTERM
    assert "frostline: interrupted; partial results are saved. Run the same command with --resume" in rest
    assert (tmp_path / "runs" / "long" / "checkpoint.safetensors").is_file()

"""Run folders: names, what is never overwritten, and who may write there."""

import shutil
import subprocess
import sys
import textwrap

import pytest

from frostline.config import make_config, write_config
from frostline.errors import RunError
from frostline.progress import log
from frostline.runs.folder import OWN_FILES, Run, choose_name, find_run, list_runs, open_run
from frostline.runs.folder import begin as begin_run
from frostline.training.checkpoint import Epoch

HISTORY = [Epoch(1, "conv5", 2.25, 0.1, 1 / 3, 0.2, 3e-4, 1.5), Epoch(2, "conv5", 1.25, 0.4, 0.1 + 0.2, 0.7, 4e-8, 0.7)]


def begin(folder, name):
    """Leave an unfinished run."""
    with open_run(folder, name, overwrite=False, resume=False) as run:
        write_config(make_config(data="fashion-mnist"), run.folder / "config.toml")
    return run


def finish(run):
    (run.folder / "metrics.json").write_text("{}")


@pytest.mark.parametrize("name", ["a", "fashion-mnist-1", "lr 0.1", "v1.2+b", "größer", "x" * 100])
def test_plain_names_are_taken(tmp_path, name):
    with open_run(tmp_path, name, overwrite=False, resume=False) as run:
        assert run.name == name


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/absolute", ".hidden", "-x", "a\nb", "x" * 101])
def test_names_that_are_no_folder_name_are_refused(tmp_path, name):
    with (
        pytest.raises(RunError, match="expected up to 100 letters"),
        open_run(tmp_path, name, overwrite=False, resume=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["unfinished", "finished"])
def test_a_taken_name_is_refused_and_nothing_changes(tmp_path, state):
    run = begin(tmp_path, "mine")
    if state == "finished":
        finish(run)
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    with (
        pytest.raises(RunError, match=rf"run 'mine' exists \({state}\).*--resume.*--overwrite"),
        open_run(tmp_path, "mine", overwrite=False, resume=False),
    ):
        pass
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


def test_overwriting_removes_what_the_old_run_left(tmp_path):
    run = begin(tmp_path, "mine")
    finish(run)
    run.model_folder.mkdir()
    (run.model_folder / "model.json").write_text("{}")
    with open_run(tmp_path, "mine", overwrite=True, resume=False) as again:
        begin_run(again, make_config(data="fashion-mnist", seed=7), {})
    assert again.config.seed == 7
    assert not again.finished
    assert not again.model_folder.exists()


def test_overwriting_that_fails_before_it_begins_keeps_the_old_run(tmp_path):
    run = begin(tmp_path, "mine")
    finish(run)
    with pytest.raises(KeyError), open_run(tmp_path, "mine", overwrite=True, resume=False):
        raise KeyError("no such weights")
    assert run.finished


def test_a_start_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(KeyError), open_run(tmp_path, "mine", overwrite=False, resume=False):
        raise KeyError("no such weights")
    assert list(tmp_path.iterdir()) == []


def test_overwriting_leaves_what_is_not_ours(tmp_path):
    run = begin(tmp_path, "mine")
    (run.folder / "notes.txt").write_text("keep me")
    with open_run(tmp_path, "mine", overwrite=True, resume=False) as again:
        begin_run(again, make_config(data="fashion-mnist"), {})
    assert (run.folder / "notes.txt").read_text() == "keep me"


def test_resuming_keeps_what_is_there_and_clears_half_made_files(tmp_path):
    run = begin(tmp_path, "mine")
    run.write_history(HISTORY)
    run.model_folder.mkdir()
    parts = [run.folder / ".history.csv.0a1b2c3d.part", run.model_folder / ".model.safetensors.0a1b2c3d.part"]
    for part in parts:
        part.write_bytes(b"half")
    with open_run(tmp_path, "mine", overwrite=False, resume=True) as again:
        assert again.history == HISTORY
    assert not any(part.exists() for part in parts)


def test_a_foreign_folder_is_refused_whatever_is_asked(tmp_path):
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter1.tex").write_text("years of work")
    for how in ({"overwrite": True, "resume": False}, {"overwrite": False, "resume": True}):
        with (
            pytest.raises(RunError, match=r"exists and is no run \(it holds chapter1\.tex\)"),
            open_run(tmp_path, "thesis", **how),
        ):
            pass
    assert [path.name for path in foreign.iterdir()] == ["chapter1.tex"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    from frostline.errors import FrostlineError

    (tmp_path / "mine").write_text("a file")
    with pytest.raises(FrostlineError), open_run(tmp_path, "mine", overwrite=True, resume=False):
        pass
    assert (tmp_path / "mine").read_text() == "a file"


def test_a_run_killed_before_its_configuration_leaves_its_name_free(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("lock", "log.txt", ".config.toml.0a1b2c3d.part"):
        (tmp_path / "mine" / name).write_text("")
    with open_run(tmp_path, "mine", overwrite=False, resume=False) as run:
        assert {path.name for path in run.folder.iterdir()} <= OWN_FILES


def test_the_history_comes_back_as_it_was(tmp_path):
    run = Run(tmp_path / "mine")
    run.write_history(HISTORY)
    assert run.history == HISTORY
    lines = (run.folder / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,freeze,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds"
    assert len(lines) == 3


def test_the_log_is_written_and_grows_when_resumed(tmp_path):
    for resume in (False, True):
        with open_run(tmp_path, "mine", overwrite=False, resume=resume) as run:
            log.info("said when resume is %s", resume)
            write_config(make_config(data="fashion-mnist"), run.folder / "config.toml")
    text = (run.folder / "log.txt").read_text()
    assert "INFO said when resume is False" in text
    assert "INFO said when resume is True" in text
    log.info("said outside")
    assert (run.folder / "log.txt").read_text() == text


def test_a_run_is_found_by_name_and_by_folder(finished):
    assert find_run("first", finished.folder.parent).folder == finished.folder
    assert find_run(str(finished.folder), finished.folder.parent / "elsewhere").name == "first"


def test_a_misspelt_run_gets_the_nearest(tmp_path):
    for name in ("sneakers", "boots"):
        begin(tmp_path, name)
    with pytest.raises(RunError) as caught:
        find_run("sneaker", tmp_path)
    message = str(caught.value)
    assert message == f"no run 'sneaker' in {tmp_path}: runs there: sneakers, boots. Did you mean 'sneakers'?"


def test_without_runs_the_error_says_so(tmp_path):
    with pytest.raises(RunError, match="there are no runs yet"):
        find_run("x", tmp_path / "nowhere")


def test_runs_are_listed_oldest_first_and_nothing_else(tmp_path):
    for name in ("b", "a"):
        begin(tmp_path, name)
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "file").write_text("")
    assert [run.name for run in list_runs(tmp_path)] == ["b", "a"]
    assert list_runs(tmp_path / "nowhere") == []


def test_names_are_numbered_and_no_number_is_used_twice(tmp_path):
    assert choose_name("fashion-mnist", tmp_path / "nowhere", resume=False) == "fashion-mnist-1"
    for name in ("fashion-mnist-1", "fashion-mnist-9", "other-12", "fashion-mnist-x"):
        begin(tmp_path, name)
    assert choose_name("fashion-mnist", tmp_path, resume=False) == "fashion-mnist-10"
    shutil.rmtree(tmp_path / "fashion-mnist-1")
    assert choose_name("fashion-mnist", tmp_path, resume=False) == "fashion-mnist-10"


def test_resuming_without_a_name_takes_the_latest_unfinished(tmp_path):
    for name in ("fashion-mnist-1", "fashion-mnist-2", "mine"):
        begin(tmp_path, name)
    finish(begin(tmp_path, "fashion-mnist-3"))
    assert choose_name("fashion-mnist", tmp_path, resume=True) == "fashion-mnist-2"


def test_resuming_without_anything_unfinished_is_refused(tmp_path):
    finish(begin(tmp_path, "fashion-mnist-1"))
    with pytest.raises(RunError, match="no unfinished run of fashion-mnist"):
        choose_name("fashion-mnist", tmp_path, resume=True)


def test_an_unfinished_run_has_no_metrics_and_says_how_to_get_them(tmp_path):
    run = begin(tmp_path, "mine")
    with pytest.raises(RunError, match="run 'mine' has no results yet: `frostline train … --name mine --resume`"):
        run.metrics  # noqa: B018


def test_damaged_metrics_are_named(tmp_path):
    run = begin(tmp_path, "mine")
    (run.folder / "metrics.json").write_text('{"schema": 1,')
    with pytest.raises(RunError, match=r"metrics\.json is damaged"):
        run.metrics  # noqa: B018


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path):
    holder = textwrap.dedent("""
        import sys
        from pathlib import Path
        from frostline.runs.folder import open_run
        with open_run(Path(sys.argv[1]), "mine", overwrite=False, resume=False):
            print("held", flush=True)
            sys.stdin.readline()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", holder, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        for overwrite in (False, True):
            with (
                pytest.raises(RunError, match="another process is writing run 'mine'"),
                open_run(tmp_path, "mine", overwrite=overwrite, resume=False),
            ):
                pass
        first.communicate("\n")
    assert first.returncode == 0
    with open_run(tmp_path, "mine", overwrite=False, resume=False):
        pass

"""Run folders: names, what is never overwritten, and who may write there."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from frostline._utils.manifest import MANIFEST, read_manifest, write_manifest
from frostline._utils.progress import log
from frostline.config import TrainConfig
from frostline.errors import FrostlineError, RunError
from frostline.runs.folder import Run, choose_name, list_runs
from frostline.runs.writer import open_run, write_history
from frostline.training.checkpoint import Epoch
from tests.small_run import reseal

HISTORY = [Epoch(1, "conv5", 2.25, 0.1, 1 / 3, 0.2, 3e-4, 1.5), Epoch(2, "conv5", 1.25, 0.4, 0.1 + 0.2, 0.7, 4e-8, 0.7)]


SPLIT = {"images": 1, "fingerprint": "0"}
RECORD = {"train": SPLIT, "val": SPLIT, "test": SPLIT}
CONFIG = TrainConfig(data="fashion-mnist")


def begin(folder, name):
    """Leave an unfinished run."""
    with open_run(folder, name, overwrite=False, resume=False) as run:
        run.begin(CONFIG, RECORD)
    return Run(run.folder)


def finish(run):
    (run.folder / "metrics.json").write_text("{}")
    write_manifest(run.folder, "run", ["config.toml", "data.json", "metrics.json"], complete=True)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start(folder: Path, name: str, **how: bool) -> None:
    """Start a run that begins and is stopped at once."""
    with open_run(folder, name, **{"overwrite": False, "resume": False} | how) as run:
        run.begin(CONFIG, RECORD)


def fail(folder: Path, name: str, **how: bool) -> None:
    """Start a run that fails before it begins, as with weights that are not there."""
    with pytest.raises(KeyError), open_run(folder, name, **{"overwrite": False, "resume": False} | how):
        log.warning("about to fail")
        raise KeyError("no such weights")


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
    before = everything(run.folder)
    with (
        pytest.raises(RunError, match=rf"run 'mine' exists \({state}\).*--resume.*--overwrite"),
        open_run(tmp_path, "mine", overwrite=False, resume=False),
    ):
        pass
    assert everything(run.folder) == before


def test_overwriting_removes_what_the_old_run_left(tmp_path):
    run = begin(tmp_path, "mine")
    finish(run)
    run.model_folder.mkdir()
    (run.model_folder / "model.json").write_text("{}")
    with open_run(tmp_path, "mine", overwrite=True, resume=False) as again:
        again.begin(TrainConfig(data="fashion-mnist", seed=7), RECORD)
    assert again.config.seed == 7
    assert not again.finished
    assert not again.model_folder.exists()


@pytest.mark.parametrize("state", ["unfinished", "finished", "without settings"])
@pytest.mark.parametrize("how", ["overwrite", "resume"])
def test_start_that_fails_leaves_a_run_whole(tmp_path, state, how):
    run = begin(tmp_path, "mine")
    if state != "unfinished":
        finish(run)
    if state == "without settings":
        (run.folder / "config.toml").unlink()
    before = everything(run.folder)
    fail(tmp_path, "mine", **{how: True})
    assert everything(run.folder) == before


def test_start_that_fails_leaves_no_folder(tmp_path):
    fail(tmp_path, "mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model/thesis.txt", "tensorboard/thesis.txt", "log.txt", "thesis.txt", "model.json"])
@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_folder_that_is_no_run_is_refused_whatever_is_asked(tmp_path, name, how):
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text("years of work")
    with pytest.raises(RunError, match="exists and is not a run"):
        start(tmp_path, "mine", **how)
    assert everything(tmp_path / "mine") == {name: b"years of work"}


@pytest.mark.parametrize("name", ["model/thesis.txt", "tensorboard/events.out.tfevents.1.mine", ".config.toml.part"])
def test_file_of_others_inside_a_run_survives(tmp_path, name):
    run = begin(tmp_path, "mine")
    (run.folder / name).parent.mkdir(exist_ok=True)
    (run.folder / name).write_text("keep me")
    fail(tmp_path, "mine", overwrite=True)
    start(tmp_path, "mine", overwrite=True)
    start(tmp_path, "mine", resume=True)
    assert (run.folder / name).read_text() == "keep me"


@pytest.mark.parametrize("name", ["model", "metrics.json", "log.txt", "report.html"])
def test_link_inside_a_run_leads_nowhere(tmp_path, name):
    run = begin(tmp_path / "runs", "mine")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "inside").mkdir(parents=True)
    (elsewhere / "model.json").write_text("precious")
    (run.folder / name).unlink(missing_ok=True)
    (run.folder / name).symlink_to(elsewhere if name == "model" else elsewhere / "model.json")
    for how in ("overwrite", "resume"):
        with pytest.raises(RunError, match=f"{name} is a symbolic link"):
            start(tmp_path / "runs", "mine", **{how: True})
    assert everything(elsewhere) == {"model.json": b"precious"}


def test_linked_run_folder_is_used(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/mine").symlink_to(tmp_path / "disk")
    start(tmp_path / "runs", "mine")
    start(tmp_path / "runs", "mine", overwrite=True)
    assert (tmp_path / "runs/mine").is_symlink()
    assert Run(tmp_path / "disk").begun


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "damaged", "edited", "binary", "nested", "device"])
def test_settings_that_are_not_those_of_the_run_are_refused_when_it_is_resumed(tmp_path, kind):
    run = begin(tmp_path, "mine")
    path = run.folder / "config.toml"
    text = path.read_text()
    path.unlink()
    contents = {"damaged": "data = ", "edited": text.replace("seed = 0", "seed = 1"), "nested": "a = " + "[" * 9999}
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "binary":
        path.write_bytes(b"\xff\0")
    elif kind in contents:
        path.write_text(contents[kind])
    begun = time.monotonic()
    with (
        pytest.raises(RunError, match=r"config\.toml"),
        open_run(tmp_path, "mine", overwrite=False, resume=True) as again,
    ):
        again.config  # noqa: B018
    assert time.monotonic() - begun < 5
    assert run.begun
    with pytest.raises(RunError, match="run 'mine' exists"):
        start(tmp_path, "mine")


def test_overwriting_leaves_what_is_not_ours(tmp_path):
    run = begin(tmp_path, "mine")
    (run.folder / "notes.txt").write_text("keep me")
    with open_run(tmp_path, "mine", overwrite=True, resume=False) as again:
        again.begin(CONFIG, RECORD)
    assert (run.folder / "notes.txt").read_text() == "keep me"


def test_resuming_keeps_what_is_there_and_clears_half_made_files(tmp_path):
    run = begin(tmp_path, "mine")
    write_history(run, HISTORY)
    run.model_folder.mkdir()
    parts = [run.folder / ".history.csv.0a1b2c3d.part", run.model_folder / ".model.safetensors.0a1b2c3d.part"]
    for part in parts:
        part.write_bytes(b"half")
    with open_run(tmp_path, "mine", overwrite=False, resume=True) as again:
        assert again.history == HISTORY
    assert not any(part.exists() for part in parts)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "mine").write_text("a file")
    with pytest.raises(FrostlineError), open_run(tmp_path, "mine", overwrite=True, resume=False):
        pass
    assert (tmp_path / "mine").read_text() == "a file"


def test_a_run_killed_before_its_configuration_leaves_its_name_free(tmp_path):
    write_manifest(tmp_path / "mine", "run")
    for name in ("lock", ".config.toml.0a1b2c3d.part"):
        (tmp_path / "mine" / name).write_text("")
    assert list_runs(tmp_path) == []
    start(tmp_path, "mine")
    assert set(everything(tmp_path / "mine")) == {"lock", "log.txt", "config.toml", "data.json", MANIFEST}


def test_run_that_is_complete_lists_what_is_read_again(finished):
    manifest = read_manifest(finished.folder)
    assert manifest.complete
    assert set(manifest.files) == {
        "config.toml", "data.json", "history.csv", "metrics.json", "evidence.safetensors", "index.safetensors",
        "sample.safetensors", "model/manifest.json",
    }  # fmt: skip
    bundle = read_manifest(finished.model_folder)
    assert set(bundle.files) == {"model.json", "model.safetensors", "MODEL_CARD.md"}


def test_the_history_comes_back_as_it_was(tmp_path):
    run = Run(tmp_path / "mine")
    write_history(run, HISTORY)
    assert run.history == HISTORY
    lines = (run.folder / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,freeze,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds"
    assert len(lines) == 3


def test_the_log_is_written_and_grows_when_resumed(tmp_path):
    for resume in (False, True):
        with open_run(tmp_path, "mine", overwrite=False, resume=resume) as run:
            log.info("said when resume is %s", resume)
            run.resume() if resume else run.begin(CONFIG, RECORD)
            log.info("said later")
    text = (run.folder / "log.txt").read_text()
    assert "INFO said when resume is False" in text
    assert "INFO said when resume is True" in text
    assert text.count("INFO said later") == 2
    log.info("said outside")
    assert (run.folder / "log.txt").read_text() == text


def test_a_run_is_found_by_name_and_by_folder(finished):
    assert Run.load("first", finished.folder.parent).folder == finished.folder
    assert Run.load(str(finished.folder), finished.folder.parent / "elsewhere").name == "first"


def test_a_misspelt_run_gets_the_nearest(tmp_path):
    for name in ("sneakers", "boots"):
        begin(tmp_path, name)
    with pytest.raises(RunError) as caught:
        Run.load("sneaker", tmp_path)
    message = str(caught.value)
    assert message == f"no run 'sneaker' in {tmp_path}: runs there: sneakers, boots. Did you mean 'sneakers'?"


def test_without_runs_the_error_says_so(tmp_path):
    with pytest.raises(RunError, match="there are no runs yet"):
        Run.load("x", tmp_path / "nowhere")


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


def test_results_of_another_run_are_refused(finished, tmp_path):
    run = Run(shutil.copytree(finished.folder, tmp_path / "copy"))
    results = (run.folder / "metrics.json").read_bytes()
    (run.folder / "metrics.json").write_bytes(results.replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(RunError, match=r"metrics\.json is not the file that Frostline wrote"):
        run.metrics  # noqa: B018
    (run.folder / MANIFEST).unlink()  # as earlier versions left it
    with pytest.raises(RunError, match=r"metrics\.json does not belong to its config\.toml"):
        run.metrics  # noqa: B018


CHANGES = {
    "accuracy above 1": lambda m: m["test"].update(accuracy=1.5),
    "accuracy that the counts deny": lambda m: m["test"].update(accuracy=0.99, accuracy_ci95=[0.9, 1.0]),
    "no interval": lambda m: m["val"].update(accuracy_ci95=[0.9]),
    "word for a number": lambda m: m["val"].update(loss="low"),
    "beyond all numbers": lambda m: m["val"].update(loss=1e999),
    "confusion with a row less": lambda m: m["test"]["confusion"].pop(),
    "confusion below 0": lambda m: m["test"]["confusion"][0].__setitem__(0, -1),
    "support that differs": lambda m: m["test"]["per_class"]["Bag"].update(support=1000),
    "other classes": lambda m: m["test"].update(per_class=dict(reversed(m["test"]["per_class"].items()))),
    "temperature 0": lambda m: m["calibration"].update(temperature=0),
    "best epoch beyond": lambda m: m["training"].update(best_epoch=99),
    "no model": lambda m: m.pop("model"),
    "schema 2": lambda m: m.update(schema=2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_results_that_cannot_be_are_damaged(finished, tmp_path, change):
    run = Run(shutil.copytree(finished.folder, tmp_path / "copy"))
    metrics = finished.metrics
    CHANGES[change](metrics)
    (run.folder / "metrics.json").write_text(json.dumps(metrics))
    reseal(run.folder)
    with pytest.raises(RunError, match=r"metrics\.json is damaged"):
        run.metrics  # noqa: B018


@pytest.mark.parametrize("name", ["metrics.json", "config.toml", "data.json", "history.csv", MANIFEST])
@pytest.mark.parametrize("kind", ["nested", "pipe", "folder", "cut", "empty"])
def test_damaged_run_is_named_and_hides_no_other(finished, tmp_path, name, kind):
    begin(tmp_path, "garments-1")
    run = Run(shutil.copytree(finished.folder, tmp_path / "garments-7"))
    path = run.folder / name
    data = path.read_bytes()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes({"nested": b"[" * 100_000, "cut": data[: len(data) // 2], "empty": b""}[kind])
    assert {run.name for run in list_runs(tmp_path)} == {"garments-1", "garments-7"}
    assert Run.load("garments-7", tmp_path).begun
    assert choose_name("garments", tmp_path, resume=False) == "garments-8"
    assert choose_name("garments", tmp_path, resume=True) == "garments-1"
    with pytest.raises(RunError, match=name):
        for what in ("metrics", "config", "begin_record", "history"):
            getattr(run, what)


def test_run_of_an_earlier_version_is_read_with_a_warning(finished, tmp_path, caplog):
    run = Run(shutil.copytree(finished.folder, tmp_path / "copy"))
    (run.folder / MANIFEST).unlink()
    assert [found.name for found in list_runs(tmp_path)] == ["copy"]
    assert run.finished
    assert run.metrics == finished.metrics
    assert run.history == finished.history
    assert run.config == finished.config
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"{run.folder} has no manifest.json (an earlier version made it): its files were not verified"
    with pytest.raises(RunError, match="exists \\(finished\\)"):
        start(tmp_path, "copy")
    before = everything(run.folder)
    fail(tmp_path, "copy", overwrite=True)
    assert everything(run.folder) == before
    (run.folder / "config.toml").unlink()
    with pytest.raises(RunError, match="exists \\(finished\\)"):
        start(tmp_path, "copy")
    start(tmp_path, "copy", overwrite=True)
    assert read_manifest(run.folder) is not None


@pytest.mark.parametrize("text", ["", "[" * 1000, "epoch,freeze\n1,conv5\n", None])
def test_history_that_is_none_is_damaged(finished, tmp_path, text):
    run = Run(shutil.copytree(finished.folder, tmp_path / "copy"))
    path = run.folder / "history.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[2:]]) if text is None else text)
    reseal(run.folder)
    with pytest.raises(RunError, match=r"history\.csv is damaged"):
        run.history  # noqa: B018


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_that_may_not_be_read_hides_no_run(tmp_path, caplog):
    begin(tmp_path, "mine")
    closed = begin(tmp_path, "closed").folder
    closed.chmod(0)
    assert [run.name for run in list_runs(tmp_path)] == ["mine"]
    assert "cannot be read (Permission denied): left out" in caplog.text
    closed.chmod(0o700)


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path):
    holder = textwrap.dedent("""
        import sys
        from pathlib import Path
        from frostline.runs.writer import open_run
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

"""A search on 1,200 real images."""

import csv
import os
import signal
import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest

from frostline._utils.manifest import write_manifest
from frostline._utils.progress import Silent
from frostline.config import TrainConfig, read_config
from frostline.data.arrays import from_arrays
from frostline.errors import ConfigError, FrostlineError, RunError
from frostline.features.inventory import list_stores
from frostline.runs.fit import fit
from frostline.studies.tune import tune
from frostline.studies.tune_results import final_accuracy, format_summary
from frostline.studies.tune_study import DIVERGED, FEWER
from frostline.studies.tune_trials import Trials
from tests.commands import started

QUICK = {"weights": "bundled", "image_size": 64, "taps": "none", "epochs": 4}
OPTIONS = ["--weights", "bundled", "--image-size", 64, "--taps", "none", "--epochs", 4]


@pytest.fixture
def config(small_fashion):
    return TrainConfig(data="fashion-mnist", data_dir=small_fashion, **QUICK)


@pytest.fixture
def tiny(config):
    return config.model_copy(update={"limit": 200})


@pytest.fixture
def large(tmp_path, fashion):
    """2,700 + 50 images: enough for two rungs; the test images vary."""

    def write(name, test_from):
        part = np.asarray(fashion.train.images[:2700]), fashion.train.labels[:2700]
        test = slice(test_from, test_from + 50)
        np.savez(
            tmp_path / name, x_train=part[0], y_train=part[1],
            x_test=np.asarray(fashion.test.images[test]), y_test=fashion.test.labels[test],
        )  # fmt: skip
        return TrainConfig(data=str(tmp_path / name), **QUICK)

    return write


def values(findings):
    return [(one.values, dict(one.accuracies), one.ended) for one in findings.trials]


def test_training_with_the_best_settings_reproduces_their_accuracy(config, tmp_path, cache):
    findings = tune(config, tmp_path / "found", trials=9)
    best = findings.best
    assert final_accuracy(best) == max(final_accuracy(one) for one in findings.trials) > 0.6
    left = {path.name for path in (tmp_path / "found").iterdir()}
    assert left == {
        "settings.json", "study.db", "config.toml", "trials.csv", "importance.png", "summary.txt", "log.txt", "lock",
        "manifest.json",
    }  # fmt: skip
    again = TrainConfig(**read_config(tmp_path / "found" / "config.toml"))
    run = fit(again, name="best", output_dir=tmp_path / "runs")
    assert run.metrics["val"]["accuracy"] == pytest.approx(final_accuracy(best), abs=1e-6)
    with (tmp_path / "found" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 and rows[0]["head"] == "linear" and float(rows[0]["weight_decay"]) == 0.05
    for one in findings.trials:
        right = np.unpackbits(np.frombuffer(one.correct, np.uint8)).sum()
        assert right == round(final_accuracy(one) * findings.val_images)
    text = "\n".join(format_summary(findings))
    assert "The accuracy is optimistic because the same images selected the best of 9 trials" in text
    assert ("than chance (p " in text) or best is findings.trials[0]
    assert "Parameter importance (fANOVA: fraction of the variance of accuracy with" in text


def test_a_search_of_a_finite_space_ends_when_all_is_tried(config, tmp_path):
    few = config.model_copy(update={"epochs": None, "limit": 300, "prior": "none"})
    findings = tune(few, tmp_path / "found", trials=9, search=("head", "batch_size"))
    tried = {(one.values["head"], one.values.get("batch_size")) for one in findings.trials}
    assert tried == {("ridge", None), *((head, size) for head in ("linear", "mlp 64") for size in ("128", "256"))}
    assert findings.trials[0].values == {"head": "ridge"} and findings.trials[0].epochs == 0
    text = (tmp_path / "found" / "log.txt").read_text()
    assert "the search ends after 5 of 9 trials: every combination of the searched settings is tried" in text
    assert len(tune(few, tmp_path / "found", trials=9, resume=True).trials) == 5
    with (tmp_path / "found" / "trials.csv").open() as file:
        assert [row["batch_size"] == "" for row in csv.DictReader(file)] == [True, False, False, False, False]


def test_batches_larger_than_the_images_are_the_same(tiny, tmp_path):
    findings = tune(
        tiny.model_copy(update={"limit": 120}), tmp_path / "found", trials=5, search=("batch_size", "augment")
    )
    assert [len(findings.trials), findings.rungs] == [2, (108,)]
    assert {one.values["augment"] for one in findings.trials} == {"none", "4 views"}


def test_stages_above_the_taps_are_not_searched_twice(tiny, tmp_path):
    read = tiny.model_copy(update={"taps": ("conv3",)})
    findings = tune(read, tmp_path / "found", trials=5, search=("freeze",))
    assert [one.values for one in findings.trials] == [{"freeze": "conv5"}]


def test_better_trials_get_more_images_and_the_test_split_is_not_read(large, tmp_path, cache):
    one = tune(large("one.npz", 0), tmp_path / "one", trials=6)
    other = tune(large("other.npz", 500), tmp_path / "other", trials=6)
    assert values(one) == values(other)
    assert one.rungs == (607, 2430)
    stopped = [trial for trial in one.trials if trial.ended == FEWER]
    assert stopped and all(set(trial.accuracies) == {607} for trial in stopped)
    assert set(one.trials[0].accuracies) == {607, 2430}
    (store,) = list_stores(cache)
    assert store.rows == 2700  # no test image went through the frozen stages


class Interrupt(Silent):
    """A progress display that raises SIGINT in the middle of the third trial."""

    def bar(self, label, total, unit):
        return _Third() if label == "trials" else super().bar(label, total, unit)


class _Third:
    count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount):
        self.count += 1
        if self.count == 2:
            signal.raise_signal(signal.SIGINT)

    def note(self, text):
        pass


def test_a_resumed_search_equals_an_uninterrupted_one(config, tmp_path):
    whole = tune(config, tmp_path / "whole", trials=5)
    with pytest.raises(KeyboardInterrupt):
        tune(config, tmp_path / "part", trials=5, progress=Interrupt())
    assert (tmp_path / "part" / "config.toml").is_file() and (tmp_path / "part" / "trials.csv").is_file()
    with pytest.raises(RunError, match="search 'part' exists: choose another --name, --resume to"):
        tune(config, tmp_path / "part", trials=5)
    again = tune(config, tmp_path / "part", trials=5, resume=True)
    assert values(again) == values(whole)
    with pytest.raises(RunError, match="was started with epochs = 4, not 3: use the same value"):
        tune(config.model_copy(update={"epochs": 3}), tmp_path / "part", trials=5, resume=True)


def test_an_open_trial_of_a_killed_search_is_repeated(small_fashion, tmp_path, config):
    command = ["tune", "fashion-mnist", "--data-dir", small_fashion, *OPTIONS, "--output-dir", tmp_path]
    with started([*command, "--name", "killed"], tmp_path, dict(os.environ)) as (process, output):
        for line in output:
            if line.startswith("trial 2/"):
                break
        time.sleep(0.05)
        process.kill()
    resumed = tune(config, tmp_path / "killed", trials=4, resume=True)
    assert values(resumed) == values(tune(config, tmp_path / "whole", trials=4))


def test_thawed_stages_and_views_can_be_searched(config, tmp_path):
    small = config.model_copy(update={"limit": 200, "epochs": 2, "head_epochs": None})
    findings = tune(small, tmp_path / "found", trials=4, search=("freeze", "augment"))
    assert len(findings.trials) == 4
    assert {one.values["freeze"] for one in findings.trials} <= {"conv5", "conv4", "conv3"}


def test_no_trial_starts_after_the_time_limit(config, tmp_path):
    findings = tune(config, tmp_path / "found", trials=50, seconds=0.01)
    assert len(findings.trials) == 1
    assert any(line.startswith("Parameter importance needs 8 or more trials") for line in format_summary(findings))


def test_a_trial_that_diverges_counts_as_a_trial_and_is_never_the_best(tiny, tmp_path):
    wild = tiny.model_copy(update={"optimizer": "sgd", "lr": 1e30, "head": "mlp"})
    findings = tune(wild, tmp_path / "wild", trials=2, search=("label_smoothing",))
    assert [one.ended for one in findings.trials] == [DIVERGED, DIVERGED]
    assert findings.best is None
    assert "the loss is no longer finite in" in (tmp_path / "wild" / "log.txt").read_text()


def test_another_error_in_a_trial_ends_the_search(tiny, tmp_path, monkeypatch):
    def refuse(self, changes, images):
        raise ConfigError("a contradiction")

    monkeypatch.setattr(Trials, "run", refuse)
    with pytest.raises(ConfigError, match="a contradiction"):
        tune(tiny, tmp_path / "refused", trials=1)


def test_data_sets_in_memory_are_searched_in_a_folder_of_their_name(fashion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = from_arrays(np.asarray(fashion.train.images[:200]), fashion.train.labels[:200], name="mine")
    findings = tune(TrainConfig(data="mine", **QUICK), trials=1, splits=splits)
    assert len(findings.trials) == 1
    assert (tmp_path / "tunes" / "mine" / "config.toml").is_file()


def test_a_resumed_search_keeps_the_network_that_the_images_chose(fashion, tmp_path, monkeypatch):
    splits = from_arrays(np.asarray(fashion.train.images[:200]), fashion.train.labels[:200], name="mine")
    config, options = (
        TrainConfig(data="mine", image_size=64, epochs=2, head="linear"),
        {"search": ["lr"], "splits": splits},
    )
    monkeypatch.setattr("frostline.pipeline.rank.candidates", lambda context: ["alexnet"])
    tune(config, tmp_path / "search", trials=1, **options)
    monkeypatch.setattr("frostline.pipeline.rank.candidates", lambda context: ["efficientnet-lite0"])
    again = tune(config, tmp_path / "search", trials=2, resume=True, **options)
    assert len(again.trials) == 2
    assert read_config(tmp_path / "search" / "config.toml")["model"] == "alexnet"


def test_a_search_is_resumed_on_its_own_images(fashion, tmp_path):
    config, options = TrainConfig(data="mine", **QUICK), {"search": ["lr"], "resume": True}
    images, labels = np.asarray(fashion.train.images[:200]), fashion.train.labels[:200]
    tune(config, tmp_path / "search", trials=1, splits=from_arrays(images, labels, name="mine"), **options)
    other = from_arrays(np.asarray(fashion.train.images[200:400]), fashion.train.labels[200:400], name="mine")
    with pytest.raises(RunError, match="was started with other training or validation images: restore the images to"):
        tune(config, tmp_path / "search", trials=2, splits=other, **options)
    again = tune(config, tmp_path / "search", trials=2, splits=from_arrays(images, labels, name="mine"), **options)
    assert len(again.trials) == 2


def test_invalid_options_are_refused(config, tmp_path):
    with pytest.raises(ConfigError, match="--trials 0: expected 1 or more"):
        tune(config, tmp_path, trials=0)
    with pytest.raises(ConfigError, match="--seconds 0: expected more than 0"):
        tune(config, tmp_path, seconds=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(RunError, match="exists and is not a search"):
        tune(config, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").is_file()


def leave_nothing(folder):
    pass


def leave_a_start(folder):
    write_manifest(folder, "search")
    (folder / "lock").touch()
    (folder / "log.txt").write_text("began\n")


@pytest.mark.parametrize("leave", [leave_nothing, leave_a_start])
def test_a_search_that_was_killed_before_it_began_can_be_resumed(tiny, tmp_path, leave):
    leave(tmp_path / "killed")
    findings = tune(tiny, tmp_path / "killed", trials=1, resume=True)
    assert len(findings.trials) == 1
    assert f"no search in {tmp_path / 'killed'} yet: starting one" in (tmp_path / "killed" / "log.txt").read_text()


def test_a_start_that_fails_removes_only_what_it_made(tiny, tmp_path):
    broken = tiny.model_copy(update={"weights": str(tmp_path / "none.pth")})
    with pytest.raises(FrostlineError, match=r"none\.pth"):
        tune(broken, tmp_path / "new", trials=1)
    assert not (tmp_path / "new").exists()
    tune(tiny, tmp_path / "old", trials=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir() if path.name != "log.txt"}
    with pytest.raises(FrostlineError, match=r"none\.pth"):
        tune(broken, tmp_path / "old", trials=1, overwrite=True)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir() if path.name != "log.txt"}


def test_damaged_files_are_refused_and_other_files_are_kept(tiny, tmp_path):
    folder = tmp_path / "found"
    tune(tiny, folder, trials=1)
    (folder / "notes.txt").write_text("keep me")
    for name in ("settings.json", "study.db", "manifest.json"):
        whole = (folder / name).read_bytes()
        for damaged in (b"", whole[:-9], whole[:50] + bytes([whole[50] ^ 1]) + whole[51:], b"[" * 5000):
            (folder / name).write_bytes(damaged)
            with pytest.raises(RunError, match=name.replace(".", r"\.")):
                tune(tiny, folder, trials=1, resume=True)
        (folder / name).unlink()
        (folder / name).mkdir()
        with pytest.raises(RunError, match=name.replace(".", r"\.")):
            tune(tiny, folder, trials=1, resume=True)
        (folder / name).rmdir()
        (folder / name).write_bytes(whole)
    assert len(tune(tiny, folder, trials=1, resume=True).trials) == 1
    tune(tiny, folder, trials=1, overwrite=True)
    assert (folder / "notes.txt").read_text() == "keep me"


def test_a_study_that_was_changed_after_a_kill_is_refused(tiny, tmp_path):
    folder = tmp_path / "killed"
    tune(tiny, folder, trials=1)
    write_manifest(folder, "search", ["settings.json"])  # as it is while trials run
    with closing(sqlite3.connect(folder / "study.db")) as database:
        database.execute("UPDATE trial_intermediate_values SET intermediate_value = 0.99")
        database.commit()
    with pytest.raises(RunError, match=r"study\.db is damaged \(trial 0 is not what was written\): --overwrite"):
        tune(tiny, folder, trials=2, resume=True)


def test_a_search_of_an_earlier_version_can_be_resumed(tiny, tmp_path):
    folder = tmp_path / "found"
    tune(tiny, folder, trials=1)
    (folder / "manifest.json").unlink()
    assert len(tune(tiny, folder, trials=2, resume=True).trials) == 2

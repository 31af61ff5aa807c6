"""What MLflow and TensorBoard hold is what the run folder says."""

import csv
import sqlite3
from pathlib import Path

import pytest

from frostline.errors import ConfigError, UnknownNameError
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from frostline.runs.tracking import Tracking, choose_trackers, flat, scalars
from frostline.training.checkpoint import EPOCH_METRICS
from tests.small_run import InterruptTraining, small_config


@pytest.mark.filterwarnings("default")  # of other packages
def test_both_hold_what_the_run_holds_once_after_a_stop(
    small_fashion: Path, run_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    config, place = small_config(small_fashion), {"name": "told", "output_dir": tmp_path / "runs"}
    with pytest.raises(KeyboardInterrupt):
        fit(config, **place, cache_dir=run_cache, track=["mlflow,tensorboard"], progress=InterruptTraining(3))
    for _ in range(2):  # the second finds it finished, and tells nothing twice
        run = fit(config, **place, cache_dir=run_cache, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]

    expected = {(name, e.epoch): getattr(e, name) for e in run.history for name in EPOCH_METRICS}
    expected |= {(name, len(run.history)): value for name, value in flat(run.metrics).items()}
    events = [(name, step, value) for name, step, value in scalars(run.folder / "tensorboard")]
    assert len(events) == len(expected)
    assert {(n, s): v for n, s, v in events} == pytest.approx(expected, rel=1e-6)

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlruns.db'}")
    (kept,) = client.search_runs([client.get_experiment_by_name("fashion-mnist").experiment_id])
    assert (kept.info.run_name, kept.info.status) == ("told", "FINISHED")
    assert kept.data.params["lr"] == "0.003"
    entries = [(m.key, m.step, m.value) for name in kept.data.metrics for m in
               client.get_metric_history(kept.info.run_id, name)]  # fmt: skip
    assert len(entries) == len(expected)
    assert {(n, s): v for n, s, v in entries} == pytest.approx(expected)


def test_names_are_those_of_the_history(finished: Run) -> None:
    with (finished.folder / "history.csv").open(newline="") as file:
        assert set(EPOCH_METRICS) == set(next(csv.reader(file))) - {"epoch", "freeze"}


def test_tracking_is_no_setting(finished: Run) -> None:
    assert "track" not in (finished.folder / "config.toml").read_text()


def test_one_that_fails_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    class Full:
        def epochs(self, history: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    tracking = Tracking({"mlflow": Full()})  # type: ignore[dict-item]
    for _ in range(2):
        tracking.epochs([])
    tracking.close("FINISHED")
    assert [record.getMessage()[:52] for record in caplog.records] == [
        "--track mlflow failed (database or disk is full) and"
    ]


def test_impossible_trackers_are_refused_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mlflow'"):
        choose_trackers(["mlfow"], Run(tmp_path), resumed=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="FROSTLINE_OFFLINE=1 forbids it"):
        choose_trackers(["mlflow"], Run(tmp_path), resumed=False)

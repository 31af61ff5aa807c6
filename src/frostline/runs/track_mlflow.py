"""What MLflow is told: an SQLite file beside the runs, or the store that ``MLFLOW_TRACKING_URI`` names."""

import json
import os
import time
from collections.abc import Sequence

from frostline.config import TrainConfig
from frostline.data.registry import data_name
from frostline.runs.folder import Run
from frostline.training.checkpoint import EPOCH_METRICS, Epoch


class MlflowTracker:
    """One MLflow run: its experiment is called like the data set, it itself like the run.

    Parameters
    ----------
    run : Run
    config : TrainConfig
        Becomes the parameters.
    run_id : str, optional
        The MLflow run to go on with; a new one where the store does not know it.
    """

    def __init__(self, run: Run, config: TrainConfig, run_id: str | None) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read while mlflow is imported
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        folder = run.folder.parent.resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{folder / 'mlruns.db'}")
        self.run_id = run_id if run_id and self._knows(run_id) else self._new_run(run, config, None if uri else folder)
        self._client.update_run(self.run_id, status="RUNNING")
        settings = config.model_dump(mode="json", exclude_none=True)
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
        self._client.log_batch(self.run_id, params=[Param(name, text) for name, text in texts.items()])
        self._last = max(
            (entry.step for entry in self._client.get_metric_history(self.run_id, EPOCH_METRICS[0])), default=0
        )

    def _knows(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _new_run(self, run: Run, config: TrainConfig, folder: os.PathLike[str] | None) -> str:
        name = data_name(config.data)
        known = self._client.get_experiment_by_name(name)
        place = os.path.join(folder, "mlartifacts") if folder else None  # noqa: PTH118
        experiment = known.experiment_id if known else self._client.create_experiment(name, artifact_location=place)
        tags = {"frostline.folder": str(run.folder.resolve())}
        return str(self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id)

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Keep the epochs that are new, step by epoch."""
        for epoch in history:
            if epoch.epoch > self._last:
                self._log({name: getattr(epoch, name) for name in EPOCH_METRICS}, epoch.epoch)
                self._last = epoch.epoch

    def results(self, results: dict[str, float], step: int) -> None:
        """Keep what is not there yet, at the last step."""
        there = self._client.get_run(self.run_id).data.metrics
        self._log({name: value for name, value in results.items() if name not in there}, step)

    def close(self, status: str) -> None:
        """Mark how it ended."""
        self._client.set_terminated(self.run_id, status)

    def _log(self, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)  # ms
        self._client.log_batch(self.run_id, metrics=[Metric(name, v, now, step) for name, v in values.items()])

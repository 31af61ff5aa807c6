"""Runs in folders that are removed when a benchmark ends."""

from pathlib import Path
from typing import Any

from frostline import TrainConfig, fit
from frostline.runs.folder import Run


def fit_in(folder: str | Path, config: TrainConfig, **options: Any) -> Run:
    """Train with the runs and the feature cache in one folder."""
    return fit(config, output_dir=Path(folder, "runs"), cache_dir=Path(folder, "cache"), **options)

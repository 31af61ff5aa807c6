"""What an exported file says of itself: its classes, its preprocessing, and the run that it came from."""

import json
from typing import Any

from frostline.runs.folder import Run

FORMAT_VERSION = 1


def origin(run: Run) -> dict[str, Any]:
    """Return the record as JSON values.

    Raises
    ------
    RunError
        When the run is not finished.
    """
    metrics = run.metrics
    bundle = json.loads((run.model_folder / "model.json").read_text(encoding="utf-8"))
    return {
        "format": FORMAT_VERSION,
        "frostline": bundle["frostline"],
        "class_names": bundle["class_names"],
        "image_size": bundle["preprocess"]["image_size"],
        "preprocess": bundle["preprocess"],
        "run": run.name,
        "data": metrics["data"]["name"],
        "network": bundle["network"],
        "freeze": metrics["model"]["freeze"],
        "taps": metrics["model"]["taps"],
        "head": metrics["model"]["head"],
        "weights": metrics["weights"],
        "bundle_blake2b": bundle["blake2b"],
        "rejection": bundle.get("rejection"),
        "seed": metrics["seed"],
        "test": {name: metrics["test"][name] for name in ("images", "accuracy", "accuracy_ci95", "loss", "ece")},
        "quantised": None,
    }

"""What an exported file says of itself: its classes, its preprocessing, and the run that it came from."""

from typing import Any

from frostline.inference.onnx import FORMAT_VERSION
from frostline.runs.bundle import read_description
from frostline.runs.folder import Run

FIGURES = ("images", "accuracy", "accuracy_ci95", "loss", "ece")


def origin(run: Run) -> dict[str, Any]:
    """Return the record as JSON values.

    Raises
    ------
    RunError
        When the run is not finished, or not as it was written.
    """
    metrics = run.metrics
    bundle = read_description(run.model_folder).model_dump(mode="json")
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
        "test": metrics["test"] and {name: metrics["test"][name] for name in FIGURES},
        "quantized": None,
    }

"""Where a model looked in the test images that its run kept: overlays for the report's galleries."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline.data.decoding.decode import decode_image
from frostline.inference.explain import Explainer, check_captum
from frostline.report.overlay import overlay, square
from frostline.runs.evidence import Evidence

METHOD = "hirescam"  # follows these heads more closely than Grad-CAM, and leaves no map blank (bench/explain.py)
SIDE = 96  # pixels of an overlay
JPEG_QUALITY = 80


def overlays(folder: Path, evidence: Evidence) -> dict[int, bytes]:
    """Return, for each test image that is kept, what speaks for the model's answer in it: a JPEG by position.

    The maps are of the small images that the run keeps, and of the last stage that has a map.

    Parameters
    ----------
    folder : Path
        Of the run.
    evidence : Evidence

    Raises
    ------
    ConfigError
        When captum is missing.
    RunError
        When the model cannot be loaded or explained.
    """
    check_captum()
    shown = evidence.shown
    if not len(shown):
        return {}
    explainer = Explainer.load(folder)
    images = [decode_image(data) for data in shown.encoded]
    answers = [int(evidence.test.probabilities[position].argmax()) for position in shown.positions]
    heats = explainer.explain(images, answers, method=METHOD)  # (N, S, S)
    return {
        int(position): _jpeg(overlay(square(image, SIDE), heat))
        for position, image, heat in zip(shown.positions, images, heats, strict=True)
    }


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()

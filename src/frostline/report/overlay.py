"""Saliency maps in color, alone and over the image, and those of the test images of a run."""

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline.data.decoding.decode import decode_image
from frostline.data.decoding.target import Target
from frostline.errors import require
from frostline.inference.explain import Explainer
from frostline.runs.evidence import Evidence

COLORS = "inferno"  # perceptually uniform: equal steps of a value are equal steps to the eye
FAINT, STRONG = 0.25, 0.85  # opacity of the color at the smallest and the largest value
CRISP = 3  # images enlarged by this factor or more keep sharp pixels
METHOD = "hirescam"  # more faithful than Grad-CAM for these heads, and no map is empty (bench/explain.py)
SIDE = 96  # pixels of an overlay
JPEG_QUALITY = 80


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blend a map (h, w) of values 0 to 1 over the gray image (H, W) or (H, W, 3), with opacity by value: (H, W, 3)."""
    gray = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None]  # (H, W, 1)
    fitted = _fitted(heat, gray.shape[1], gray.shape[0])
    share = (FAINT + (STRONG - FAINT) * fitted)[..., None]
    return np.rint((1 - share) * gray + share * color(fitted)).astype(np.uint8)


def color(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a map of values 0 to 1, (H, W), as colors (H, W, 3)."""
    return _table()[np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)]


def square(pixels: NDArray[np.uint8], target: Target) -> NDArray[np.uint8]:
    """Return an image as the network sees it, at another size: uint8 (side, side) or (side, side, 3)."""
    image, side = target.apply(Image.fromarray(pixels)), target.side
    how = Image.Resampling.NEAREST if side >= CRISP * image.width else Image.Resampling.LANCZOS
    return np.asarray(image.resize((side, side), how))


def _fitted(heat: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    if heat.shape == (height, width):
        return np.clip(heat, 0, 1)
    grown = Image.fromarray(np.asarray(heat, np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    fitted: NDArray[np.float32] = np.clip(np.asarray(grown), 0, 1)
    return fitted


@lru_cache
def _table() -> NDArray[np.uint8]:
    from matplotlib import colormaps

    table: NDArray[np.uint8] = np.rint(colormaps[COLORS](np.arange(256))[:, :3] * 255).astype(np.uint8)
    return table


def overlays(folder: Path, evidence: Evidence) -> dict[int, bytes]:
    """Return the saliency overlay for the prediction of each test image with a thumbnail: JPEG by position.

    The maps are computed on the thumbnails, at the last stage with a spatial map. Raises ConfigError when captum is not
    installed; RunError when the model cannot be loaded or explained.
    """
    require("explain", "explain", "captum.attr")
    shown = evidence.shown
    if not len(shown):
        return {}
    explainer = Explainer.load(folder)
    target = Target(SIDE, explainer.model.preprocess.fit)
    images = [decode_image(data) for data in shown.encoded]
    answers = [int(evidence.test.probabilities[position].argmax()) for position in shown.positions]
    heats = explainer.explain(images, answers, method=METHOD)  # (N, S, S)
    return {
        int(position): _jpeg(overlay(square(image, target), heat))
        for position, image, heat in zip(shown.positions, images, heats, strict=True)
    }


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()

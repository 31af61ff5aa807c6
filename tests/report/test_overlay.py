"""Saliency maps in color, alone and over images."""

import io

import numpy as np
import pytest
from PIL import Image

from frostline.data.decoding.decode import decode_image
from frostline.data.decoding.target import Target
from frostline.data.encoding import to_png
from frostline.inference.explain import Explainer
from frostline.report.overlay import METHOD, SIDE, color, overlay, overlays, square
from frostline.runs.evidence import read_evidence
from frostline.runs.folder import Run


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
@pytest.mark.parametrize("side", [5, 40])
def test_an_overlay_has_the_images_size_and_glows_where_the_map_does(shape: tuple[int, ...], side: int) -> None:
    heat = np.zeros((side, side), np.float32)
    heat[: side // 2] = 1
    shown = overlay(np.full(shape, 100, np.uint8), heat)
    assert (shown.shape, shown.dtype) == ((40, 60, 3), np.uint8)
    assert shown[:10].min(axis=(0, 1)).tolist() > shown[-10:].max(axis=(0, 1)).tolist()
    assert np.ptp(shown[-1, -1].astype(int)) <= 1  # nothing there: the image in grays
    assert np.ptp(shown[0, 0].astype(int)) > 50


def test_equal_steps_grow_equally_light() -> None:
    lightness = color(np.linspace(0, 1, 11, dtype=np.float32)[None])[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
    assert lightness[0] < 5 and lightness[-1] > 240


def test_what_a_network_sees_is_the_center_square() -> None:
    pixels = np.zeros((20, 60), np.uint8)
    pixels[:, 20:40] = 200
    for side in (10, 100):
        assert square(pixels, Target(side)).shape == (side, side)
        assert (square(pixels, Target(side)) == 200).all()


def test_png_gives_the_pixels_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Image.open(io.BytesIO(to_png(pixels))) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), pixels)


def test_each_thumbnail_has_its_own_overlay(odd: Run) -> None:
    evidence = read_evidence(odd)
    found = overlays(odd.folder, evidence)
    assert set(found) == set(evidence.shown.positions.tolist())
    position = int(evidence.shown.positions[3])
    image = decode_image(evidence.shown.encoded[3])
    answer = int(evidence.test.probabilities[position].argmax())
    (heat,) = Explainer.load(odd.folder).explain([image], [answer], method=METHOD)
    drawn = np.asarray(Image.open(io.BytesIO(found[position]))).astype(int)
    assert np.abs(drawn - overlay(square(image, Target(SIDE)), heat)).mean() < 6  # JPEG

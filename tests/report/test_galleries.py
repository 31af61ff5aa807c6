"""Images of a report: whole, with the part that the network saw."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from frostline.data.encoding import encode
from frostline.data.thumbnails import Thumbnails
from frostline.evaluation.metrics import Predictions
from frostline.report.galleries import Exhibits
from frostline.report.hover import hover_images
from frostline.runs.evidence import Evidence, _worth_mapping

NAMES = ["cat", "dog"]
PREDICTIONS = Predictions(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), np.array([1, 1]))


def evidence(width: int, height: int) -> Evidence:
    """Two test images, of which the second one is for the map only."""
    image = encode(np.full((height, width, 3), 90, np.uint8), 96)
    shown, mapped = (Thumbnails(np.array([number]), [image], [f"/photos/dog/{number}.jpg"]) for number in range(2))
    return Evidence(PREDICTIONS, PREDICTIONS, shown, mapped)


@pytest.mark.parametrize(
    ("fit", "cropped", "seen"), [("pad", False, (100, 100)), ("crop", True, (50, 50)), ("squash", False, (100, 50))]
)
def test_the_whole_image_is_shown_and_what_the_network_saw_is_known(
    fit: str, cropped: bool, seen: tuple[int, int]
) -> None:
    (image,) = Exhibits(evidence(96, 48), NAMES, fit=fit).images([0])
    assert (image.cropped, image.seen) == (cropped, seen)
    with Image.open(io.BytesIO(base64.b64decode(image.source.partition(",")[2]))) as shown:
        assert shown.size == (96, 48)
    assert (image.name, image.truth, image.predicted, image.right) == ("0.jpg", "dog", "cat", False)
    assert (image.truth_probability, image.probability) == pytest.approx((0.1, 0.9))


def test_square_images_have_no_outline() -> None:
    (image,) = Exhibits(evidence(60, 60), NAMES, fit="crop").images([0])
    assert not image.cropped and image.seen == (100, 100)


def test_every_image_of_the_map_that_has_a_thumbnail_is_on_the_sheet() -> None:
    places = np.array([[10.0, 20.0], [600.0, 700.0]])
    found = hover_images(np.array([0, 1]), places, evidence(96, 48), NAMES)
    assert found is not None
    assert [(spot.x, spot.y, spot.text) for spot in found.spots] == [
        (10, 20, "dog, predicted as cat · 0.jpg"), (600, 700, "dog · 1.jpg")
    ]  # fmt: skip
    with Image.open(io.BytesIO(base64.b64decode(found.sheet.partition(",")[2]))) as sheet:
        assert sheet.size == (64 * found.across, 64 * found.down)
    assert hover_images(np.empty(0, np.int64), np.empty((0, 2)), evidence(9, 9), NAMES) is None


def test_mistakes_come_first_on_the_map() -> None:
    labels = np.zeros(1000, np.int64)
    wrong = np.arange(0, 1000, 5)
    probabilities = np.tile(np.array([[0.9, 0.1]], np.float32), (1000, 1))
    probabilities[wrong] = [0.1, 0.9]
    chosen = _worth_mapping(Predictions(probabilities, labels), np.arange(1000))
    assert len(chosen) == 400 and set(wrong) <= set(chosen)
    assert np.histogram(chosen, 4, (0, 1000))[0].min() > 80  # the others are spread over the split

"""Overlays for the report: one for each image that a run kept, of the model's own answer."""

import io

import numpy as np
from PIL import Image

from frostline.data.decoding.decode import decode_image
from frostline.inference.explain import Explainer
from frostline.report.overlay import overlay, square
from frostline.report.saliency import METHOD, SIDE, overlays
from frostline.runs.evidence import read_evidence
from frostline.runs.folder import Run


def test_each_kept_image_has_its_own(odd: Run) -> None:
    evidence = read_evidence(odd)
    found = overlays(odd.folder, evidence)
    assert set(found) == set(evidence.shown.positions.tolist())
    position = int(evidence.shown.positions[3])
    image = decode_image(evidence.shown.encoded[3])
    answer = int(evidence.test.probabilities[position].argmax())
    (heat,) = Explainer.load(odd.folder).explain([image], [answer], method=METHOD)
    drawn = np.asarray(Image.open(io.BytesIO(found[position]))).astype(int)
    assert np.abs(drawn - overlay(square(image, SIDE), heat)).mean() < 6  # JPEG

"""The page of an audit: findings with images, and verdicts on suspected labels, which the page saves as a table."""

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline._utils.text import CONTENT_POLICY, templates
from frostline.data.encoding import data_url, encode
from frostline.studies.audit.findings import KINDS, Finding, OutOfFold, as_csv, table_lines
from frostline.studies.audit.label_noise import expectation
from frostline.studies.audit.near_duplicates import Pool

SHOWN = {"label": 120, "duplicate": 48, "outlier": 48, "ambiguous": 48}
SIDE = 96  # pixels of the longer side of an image
NEAREST_SIDE = 56
NEAREST_SHOWN = 4  # of each of two classes
DESCRIPTIONS = {
    "label": "Heads that were not trained on the label find it improbable; the least probable first. The nearest "
    "images are those in feature space.",
    "duplicate": "Images with the same content. Copies across splits make test results optimistic; copies with "
    "different labels contradict each other. Mirrored and cropped copies are not detected.",
    "outlier": "Far from all other images in feature space: damaged, of no class, or rare.",
    "ambiguous": "Two classes are almost equally probable, one of them the label. Check these labels by eye.",
}


class _Page:
    """What the cards of a page share: the data set, its scores, points and thumbnails."""

    def __init__(self, pool: Pool, scored: OutOfFold, points: NDArray[np.float32]) -> None:
        self.pool, self.scored, self.points = pool, scored, points
        self.thumbnail = lru_cache(maxsize=None)(self._thumbnail)

    def _thumbnail(self, image: int, side: int) -> str:
        return data_url(encode(self.pool.pixels(image, side), side))

    def card(self, finding: Finding, line: dict[str, str]) -> dict[str, Any]:
        """Return one finding as the template shows it; ``images`` are pairs of data URL and name."""
        pool, images = self.pool, [finding.image] if finding.other is None else [finding.image, finding.other]
        p, label, suggested = (
            self.scored.probabilities[finding.image],
            int(pool.labels[finding.image]),
            finding.suggested,
        )
        shown = {
            "images": [(self.thumbnail(image, SIDE), pool.where(image)) for image in images],
            "label": pool.class_names[label],
            "p_label": p[label],
            "suggested": None,
            "note": finding.note,
        }
        if suggested is not None:
            shown |= {
                "suggested": pool.class_names[suggested],
                "p_suggested": p[suggested],
                "p_right": 1 - finding.suspicion,
                "nearest": [(pool.class_names[c], self._nearest(finding.image, c)) for c in (suggested, label)],
                "accepted": _attribute(as_csv([line])),
                "rejected": _attribute(as_csv([line | {"new_label": ""}])),
            }
        return shown

    def _nearest(self, image: int, label: int) -> list[tuple[str, str]]:
        """Return data URLs and names of the images of a class that are nearest to one; only checked labels are read."""
        members = np.flatnonzero(self.scored.audited & (self.pool.labels == label))
        members = members[members != image]
        distances = np.square(self.points[members] - self.points[image]).sum(1)
        nearest = members[np.argsort(distances, kind="stable")[:NEAREST_SHOWN]]
        return [(self.thumbnail(other, NEAREST_SIDE), self.pool.where(other)) for other in nearest.tolist()]


def write_page(
    findings: Sequence[Finding],
    pool: Pool,
    scored: OutOfFold,
    facts: dict[str, Any],
    points: NDArray[np.float32],
    path: Path,
) -> None:
    """Write the findings as a self-contained HTML page.

    Parameters
    ----------
    points : ndarray of float32, shape (N, K)
        The images in feature space.
    """
    page, sections = _Page(pool, scored, points), []
    lines = list(table_lines(findings, pool, scored))
    for kind, title in KINDS.items():
        own = [pair for pair in zip(findings, lines, strict=True) if pair[0].kind == kind]
        cards = [page.card(finding, line) for finding, line in own[: SHOWN[kind]]]
        sections.append({"kind": kind, "title": title, "about": DESCRIPTIONS[kind], "total": len(own), "cards": cards})
    script = files("frostline.studies.audit").joinpath("templates", "verdicts.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    identity = hashlib.sha256(as_csv(lines).encode(errors="surrogateescape")).hexdigest()[:16]
    text = templates("frostline.studies.audit").get_template("audit.html").render(
        sections=sections, facts=facts, table="audit.csv", script=Markup(script), identity=identity,  # noqa: S704
        header=as_csv([], header=True), expectation=expectation(facts["label_errors"]),
        content_policy=f"{CONTENT_POLICY}; script-src 'sha256-{digest}'",
    )  # fmt: skip
    write_bytes(path, text.encode(errors="replace"), OTHER_OUTPUT_DIR)


def _attribute(text: str) -> Markup:
    """Return text for an attribute with nothing but HTML escaped: the page saves it as it is."""
    return Markup(str(escape(text)).replace("\r", "&#13;"))  # noqa: S704 - it is escaped

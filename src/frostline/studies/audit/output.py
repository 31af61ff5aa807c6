"""Output of an audit: ``audit.csv``, one line per finding, to edit and apply, and ``audit.html`` with the images."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline._utils.templates import templates
from frostline.data.thumbnails import data_url, encode
from frostline.studies.audit.findings import KINDS, Finding, OutOfFold
from frostline.studies.audit.pool import Pool

COLUMNS = (
    "finding", "suspicion", "split", "number", "path", "label", "new_label", "remove", "p_label", "suggested",
    "p_suggested", "like", "note", "content",
)  # fmt: skip
SHOWN = {"label": 120, "duplicate": 48, "outlier": 48, "ambiguous": 48}
SIDE = 96  # pixels of the longer side of an image
DESCRIPTIONS = {
    "label": "The label has a low probability according to heads that were not trained on it; lowest first.",
    "duplicate": "Images with the same content. Copies across splits make test results optimistic; copies with "
    "different labels contradict each other. Mirrored and cropped copies are not detected.",
    "outlier": "Far from all other images in feature space: damaged, of no class, or rare.",
    "ambiguous": "Two classes are almost equally probable, one of them the label. Check these labels by eye.",
}


def write_table(findings: Sequence[Finding], pool: Pool, scored: OutOfFold, path: Path) -> None:
    """Write the findings as CSV; for suspected label errors ``new_label`` holds the suggestion, for review.

    Raises
    ------
    StorageError
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_line(finding, pool, scored) for finding in findings)
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"), OTHER_OUTPUT_DIR)


def _line(finding: Finding, pool: Pool, scored: OutOfFold) -> dict[str, str]:
    image, names = finding.image, pool.class_names
    label, p = int(pool.labels[image]), scored.probabilities[image]
    suggested = "" if finding.suggested is None else names[finding.suggested]
    return {
        "finding": finding.kind,
        "suspicion": f"{finding.suspicion:.4f}",
        "split": pool.split(image),
        "number": str(pool.numbers[image]),
        "path": pool.path(image),
        "label": names[label],
        "new_label": suggested,
        "remove": "",
        "p_label": f"{p[label]:.4f}",
        "suggested": suggested,
        "p_suggested": "" if finding.suggested is None else f"{p[finding.suggested]:.4f}",
        "like": "" if finding.other is None else pool.where(finding.other),
        "note": finding.note,
        "content": pool.row_ids[image].hex(),
    }


@dataclass(frozen=True)
class FindingCard:
    """One finding on the page; ``images`` are pairs of data URL and name."""

    images: tuple[tuple[str, str], ...]
    label: str
    p_label: float
    suggested: str
    p_suggested: float
    note: str
    suspicion: float


@dataclass(frozen=True)
class Section:
    """The findings of one kind: their number and the first of them."""

    kind: str
    title: str
    about: str
    count: int
    cards: tuple[FindingCard, ...]


def write_page(findings: Sequence[Finding], pool: Pool, scored: OutOfFold, facts: dict[str, Any], path: Path) -> None:
    """Write the findings as a self-contained HTML page.

    Raises
    ------
    StorageError
    """
    sections = []
    for kind, title in KINDS.items():
        own = [finding for finding in findings if finding.kind == kind]
        cards = tuple(_card(finding, pool, scored) for finding in own[: SHOWN[kind]])
        sections.append(Section(kind, title, DESCRIPTIONS[kind], len(own), cards))
    template = templates("frostline.studies.audit").get_template("audit.html")
    page = template.render(sections=sections, facts=facts, table="audit.csv")
    write_bytes(path, page.encode(errors="replace"), OTHER_OUTPUT_DIR)


def _card(finding: Finding, pool: Pool, scored: OutOfFold) -> FindingCard:
    image, p = finding.image, scored.probabilities[finding.image]
    label = int(pool.labels[image])
    shown = [image] if finding.other is None else [image, finding.other]
    return FindingCard(
        tuple((_thumbnail_url(pool, one), pool.where(one)) for one in shown),
        pool.class_names[label],
        float(p[label]),
        "" if finding.suggested is None else pool.class_names[finding.suggested],
        0.0 if finding.suggested is None else float(p[finding.suggested]),
        finding.note,
        finding.suspicion,
    )


def _thumbnail_url(pool: Pool, image: int) -> str:
    return data_url(encode(pool.pixels(image, SIDE), SIDE))

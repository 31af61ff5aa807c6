"""``audit.html``: the findings to look at, one file that asks no address, for a desk and for a phone."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline._utils.storage import write_bytes
from frostline._utils.templates import templates
from frostline.data.thumbnails import encode
from frostline.studies.audit.findings import KINDS, Finding, OutOfFold
from frostline.studies.audit.pool import Pool
from frostline.studies.audit.table import REMEDY

SHOWN = {"label": 120, "duplicate": 48, "outlier": 48, "ambiguous": 48}
SIDE = 96  # pixels of an image's longer side
ABOUT = {
    "label": "Heads that never saw the label hold it for improbable. The least probable is first.",
    "duplicate": "Images that show the same. Copies in two splits make a test too easy; copies with two labels "
    "contradict each other. Mirrored and cropped copies are not looked for.",
    "outlier": "Far from everything else in the data set: perhaps not of any class, or damaged, or merely rare.",
    "ambiguous": "Between two classes, one of them its label. The label may be right: a second pair of eyes decides.",
}


@dataclass(frozen=True)
class FindingCard:
    """One finding as the page shows it; ``images`` are data addresses with what each is called."""

    images: tuple[tuple[str, str], ...]
    label: str
    p_label: float
    suggested: str
    p_suggested: float
    note: str
    suspicion: float


@dataclass(frozen=True)
class Section:
    """The findings of one kind: all of them counted, the first of them shown."""

    kind: str
    title: str
    about: str
    count: int
    cards: tuple[FindingCard, ...]


def write_page(findings: Sequence[Finding], pool: Pool, judged: OutOfFold, facts: dict[str, Any], path: Path) -> None:
    """Write the gallery.

    Raises
    ------
    StorageError
    """
    sections = []
    for kind, title in KINDS.items():
        mine = [finding for finding in findings if finding.kind == kind]
        cards = tuple(_card(finding, pool, judged) for finding in mine[: SHOWN[kind]])
        sections.append(Section(kind, title, ABOUT[kind], len(mine), cards))
    template = templates("frostline.studies.audit").get_template("audit.html")
    page = template.render(sections=sections, facts=facts, table="audit.csv")
    write_bytes(path, page.encode(errors="replace"), REMEDY)


def _card(finding: Finding, pool: Pool, judged: OutOfFold) -> FindingCard:
    image, p = finding.image, judged.probabilities[finding.image]
    label = int(pool.labels[image])
    shown = [image] if finding.other is None else [image, finding.other]
    return FindingCard(
        tuple((_address(pool, one), pool.where(one)) for one in shown),
        pool.class_names[label],
        float(p[label]),
        "" if finding.suggested is None else pool.class_names[finding.suggested],
        0.0 if finding.suggested is None else float(p[finding.suggested]),
        finding.note,
        finding.suspicion,
    )


def _address(pool: Pool, image: int) -> str:
    data = encode(pool.pixels(image, SIDE), SIDE)
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

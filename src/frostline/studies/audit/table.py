"""``audit.csv``: one line per finding, made to be read, cut and edited, and applied."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline._utils.files import read_bytes, reading
from frostline._utils.storage import write_bytes
from frostline.errors import DataError
from frostline.studies.audit.findings import Finding, OutOfFold
from frostline.studies.audit.pool import Pool

REMEDY = "--output-dir chooses another place"
COLUMNS = (
    "finding", "suspicion", "split", "number", "path", "label", "new_label", "remove", "p_label", "suggested",
    "p_suggested", "like", "note", "content",
)  # fmt: skip
NEEDED = ("split", "number", "label", "new_label", "remove", "content")
MAX_TABLE_BYTES = 1 << 30
YES = ("yes", "y", "true", "1", "x")
NO = ("no", "n", "false", "0", "")


def write_table(findings: Sequence[Finding], pool: Pool, judged: OutOfFold, path: Path) -> None:
    """Write the findings; ``new_label`` holds the suggestion where a label is suspected, for a person to judge.

    Raises
    ------
    StorageError
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_line(finding, pool, judged) for finding in findings)
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"), REMEDY)


def _line(finding: Finding, pool: Pool, judged: OutOfFold) -> dict[str, str]:
    image, names = finding.image, pool.class_names
    label, p = int(pool.labels[image]), judged.probabilities[image]
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
class Correction:
    """What a line asks for: another class, or that the image goes.

    Attributes
    ----------
    line : int
        In the file, for messages.
    split, number, label, content
        Which image is meant, and what was known of it.
    new_label : str or None
        ``None``: the image goes.
    """

    line: int
    split: str
    number: int
    label: str
    content: str
    new_label: str | None


def read_table(path: Path) -> list[Correction]:
    """Read what a table, or what is left of one, asks to be changed.

    Raises
    ------
    DataError
        When it is no such table, or a line cannot be understood.
    """
    with reading(path, DataError, "give an audit.csv, edited or a part of it"):
        text = read_bytes(path, MAX_TABLE_BYTES).decode("utf-8-sig", "surrogateescape")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        lines = [] if missing else [(reader.line_num, line) for line in reader]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]}: expected an audit.csv with its first line, or a part of it."
        )
    read = (_correction(path, number, line) for number, line in lines)
    return [correction for correction in read if correction is not None]


def _correction(path: Path, number: int, line: dict[str, str | None]) -> Correction | None:
    where = f"{path}, line {number}"
    cells = {name: line[name] or "" for name in NEEDED}
    remove, new = cells["remove"].strip().lower(), cells["new_label"]
    if remove not in YES + NO:
        raise DataError(f"{where}: remove: expected yes or nothing, got {cells['remove'][:40]!r}.")
    if not re.fullmatch("[0-9]{1,12}", cells["number"]):
        raise DataError(f"{where}: number: expected the image's number in its split, got {cells['number'][:40]!r}.")
    if remove in NO and new in ("", cells["label"]):
        return None
    return Correction(
        number, cells["split"], int(cells["number"]), cells["label"], cells["content"], None if remove in YES else new
    )

"""Names of classes and splits: normalized spelling, natural order, usual names of splits."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from frostline._utils.progress import log

_DIGITS = re.compile("([0-9]+)")
MAX_NAMED = 5


def natural_key(name: str) -> tuple[Any, ...]:
    """Return a sort key for natural order: 1, 2, 10; a2, a10; Apple before banana.

    Digits compare by value and letters regardless of case. Ties (1 and 01, a and A) are broken by the characters, so
    the order does not depend on that of the input.
    """

    def number(digits: str) -> tuple[int, str]:  # compares like the number, whatever its length
        value = digits.lstrip("0")
        return len(value), value

    parts = _DIGITS.split(name)  # text, digits, text, …: text is never compared with digits
    return tuple(number(part) if i % 2 else part.casefold() for i, part in enumerate(parts)), name


def natural_order(names: Iterable[str]) -> list[str]:
    """Return the distinct names in natural order (`natural_key`)."""
    return sorted(set(names), key=natural_key)


def class_name(name: str) -> str:
    """Normalize the spelling of a class name: composed characters (NFC), no surrounding spaces.

    macOS and zip files write ``é`` as ``e`` and an accent (NFD), which looks the same.
    """
    return unicodedata.normalize("NFC", name).strip(" \u00a0") or name


def normalize_class_names(names: Sequence[str], source: str) -> list[str]:
    """Normalize the class name of each image (`class_name`); log spellings that are merged, or differ only in case."""
    spelled = {name: class_name(name) for name in set(names)}
    variants: dict[str, list[str]] = {}
    for name in sorted(spelled):
        variants.setdefault(spelled[name], []).append(name)
    merged = natural_order(name for name, spellings in variants.items() if len(spellings) > 1)
    if merged:
        shown = first_few([f"{name} ({', '.join(map(ascii, variants[name]))})" for name in merged])
        log.warning("%s: spellings of a class name that look the same are merged: %s", source, shown)
    by_case: dict[str, list[str]] = {}
    for name in natural_order(spelled.values()):
        by_case.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(map(repr, same)) for same in by_case.values() if len(same) > 1]
    if alike:
        log.warning("%s: class names that differ only in case are separate classes: %s", source, first_few(alike))
    return [spelled[name] for name in names]


def unprintable(names: Iterable[str]) -> list[str]:
    """Return the names that cannot be printed: with control characters, invalid Unicode, or only white space."""
    return [name for name in names if not name.strip() or {"Cc", "Cs"} & set(map(unicodedata.category, name))]


def first_few(names: Sequence[str], most: int = MAX_NAMED) -> str:
    """Return the first names, and the number of the others, as text."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


SPLITS = ("train", "val", "test")
NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "validating", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "evaluate", "holdout", "heldout"),
}
# Matched in lower case, letters and digits only: train, Training_Set, images-train, test_data, val2017.
_DECORATION = "(?:images?|imgs?|img|pictures?|photos?|data|dataset|split|set)?"
_PATTERNS = {
    split: re.compile(f"{_DECORATION}(?:{'|'.join(names)}){_DECORATION}(?:set|split)?(?:(?:19|20)[0-9]{{2}})?")
    for split, names in NAMES.items()
}


def split_of(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` for a usual name of that split, in any case; else ``None``."""
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return next((split for split, pattern in _PATTERNS.items() if pattern.fullmatch(plain)), None)

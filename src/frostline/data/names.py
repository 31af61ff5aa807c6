"""Names of classes and splits: one spelling for each, and the order in which classes are numbered."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from frostline._utils.progress import log

_DIGITS = re.compile("([0-9]+)")
MAX_NAMED = 5


def natural_key(name: str) -> tuple[Any, ...]:
    """Return a key that sorts names the way people do: 1, 2, 10; a2, a10; Apple before banana.

    Digits count by their value and letters regardless of case. Names that are equal in this sense (1 and 01, a and A)
    are ordered by their characters, so the order never depends on the order of the input.
    """
    parts = _DIGITS.split(name)  # text, digits, text, …: text and digits never meet in a comparison
    return tuple(_number(part) if i % 2 else part.casefold() for i, part in enumerate(parts)), name


def _number(digits: str) -> tuple[int, str]:
    """Return what compares as the number does, however many digits it has."""
    value = digits.lstrip("0")
    return len(value), value


def natural_order(names: Iterable[str]) -> list[str]:
    """Return the distinct names in natural order (`natural_key`)."""
    return sorted(set(names), key=natural_key)


def class_name(name: str) -> str:
    """Return the one spelling of a class name: composed characters (NFC), no spaces around it.

    macOS and zip files write ``é`` as ``e`` and an accent (NFD); both look the same.
    """
    return unicodedata.normalize("NFC", name).strip(" \u00a0") or name


def unified(names: Sequence[str], source: str) -> list[str]:
    """Return class names in their one spelling (`class_name`), and log what this joins or leaves apart.

    Parameters
    ----------
    names : sequence of str
        As they came, one per image.
    source : str
        For messages.
    """
    spelled = {name: class_name(name) for name in set(names)}
    _log_joined(spelled, source)
    by_case: dict[str, list[str]] = {}
    for name in natural_order(spelled.values()):
        by_case.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(map(repr, same)) for same in by_case.values() if len(same) > 1]
    if alike:
        log.warning("%s: classes whose names differ in case only are kept apart: %s", source, first_few(alike))
    return [spelled[name] for name in names]


def _log_joined(spelled: dict[str, str], source: str) -> None:
    variants: dict[str, list[str]] = {}
    for name in sorted(spelled):
        variants.setdefault(spelled[name], []).append(name)
    joined = [name for name, given in variants.items() if len(given) > 1]
    if joined:
        shown = [f"{name} ({', '.join(map(ascii, variants[name]))})" for name in sorted(joined, key=natural_key)]
        log.warning("%s: spellings of one class name that look the same are one class: %s", source, first_few(shown))


def unprintable(names: Iterable[str]) -> list[str]:
    """Return the names that cannot be printed: control characters, what is no Unicode, nothing but white space."""
    return [name for name in names if not name.strip() or {"Cc", "Cs"} & set(map(unicodedata.category, name))]


def first_few(names: Sequence[str], most: int = MAX_NAMED) -> str:
    """Return the first names as text, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


SPLITS = ("train", "val", "test")
NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "validating", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "evaluate", "holdout", "heldout"),
}
# Without case and anything but letters and digits: train, Training_Set, images-train, test_data, val2017.
_DECORATION = "(?:images?|imgs?|img|pictures?|photos?|data|dataset|split|set)?"
_PATTERNS = {
    split: re.compile(f"{_DECORATION}(?:{'|'.join(names)}){_DECORATION}(?:set|split)?(?:(?:19|20)[0-9]{{2}})?")
    for split, names in NAMES.items()
}


def split_of(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` when a name is a usual one for that split, in any case; else ``None``."""
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return next((split for split, pattern in _PATTERNS.items() if pattern.fullmatch(plain)), None)

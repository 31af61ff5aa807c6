"""Names of classes as names of folders: valid on every system, and unique."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from frostline._utils.text import printable

LONGEST_NAME = 100  # characters; file systems take 255 bytes
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Return a folder name per class, valid on every system and unique regardless of case."""
    return unique_names(map(_folder_name, class_names))


def unique_names(names: Iterable[str]) -> list[str]:
    """Append ``-2``, ``-3``, … to names that repeat earlier ones, regardless of case."""
    taken: dict[str, str] = {}
    for name in names:
        free = next(free for free in numbered(name, "") if _key(free) not in taken)
        taken[_key(free)] = free
    return list(taken.values())


def _folder_name(text: str) -> str:
    name = re.sub(r'[/\\:*?"<>|]', "_", printable(unicodedata.normalize("NFC", text)))
    name = name[:LONGEST_NAME].encode()[:200].decode(errors="ignore").strip().rstrip(".")
    if name.startswith("."):
        name = "_" + name[1:]
    return f"{name}_" if name.partition(".")[0].lower() in _RESERVED else name or "_"


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def numbered(stem: str, suffix: str) -> Iterator[str]:
    """Yield the name, then the name with ``-2``, ``-3``, … appended."""
    yield stem + suffix
    yield from (f"{stem}-{number}{suffix}" for number in count(2))

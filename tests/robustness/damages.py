"""Kinds of damage to one file, drawn from a seed: to its bytes, to values in it, or a replacement."""

import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEEP = 20_000  # levels of nesting: more than any recursive parser survives
Damage = Callable[[bytes, random.Random], bytes]


def _somewhere(data: bytes, rng: random.Random) -> int:
    """Draw a position: anywhere, or among the first bytes, where headers are."""
    most = len(data) if rng.random() < 0.5 else min(len(data), 400)
    return rng.randrange(max(most, 1))


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 8)) if data else 0):
        changed[_somewhere(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zero_bytes(data: bytes, rng: random.Random) -> bytes:
    start = _somewhere(data, rng)
    count = min(rng.choice((1, 4, 64, 4096)), len(data) - start)
    return data[:start] + bytes(count) + data[start + count :]


def insert_bytes(data: bytes, rng: random.Random) -> bytes:
    start = _somewhere(data, rng)
    return data[:start] + rng.randbytes(rng.choice((1, 4, 64, 4096))) + data[start:]


def delete_bytes(data: bytes, rng: random.Random) -> bytes:
    start = _somewhere(data, rng)
    return data[:start] + data[start + rng.choice((1, 4, 64, 4096)) :]


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _somewhere(data, rng)]


def empty(data: bytes, rng: random.Random) -> bytes:
    return b""


def double(data: bytes, rng: random.Random) -> bytes:
    return data + data


def not_utf8(data: bytes, rng: random.Random) -> bytes:
    start = _somewhere(data, rng)
    return data[:start] + rng.choice((b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80")) + data[start:]


def nul_bytes(data: bytes, rng: random.Random) -> bytes:
    start = _somewhere(data, rng)
    return data[:start] + bytes(rng.choice((1, 16))) + data[start:]


def huge_claim(data: bytes, rng: random.Random) -> bytes:
    """Make the first bytes of the file, or a number in it, state an enormous size."""
    if data[8:9] == b"{":  # safetensors: length of the header, or a size in it
        if rng.random() < 0.5:
            return struct.pack("<Q", rng.choice((1 << 20, 1 << 40, (1 << 63) - 1, (1 << 64) - 1))) + data[8:]
        return edit_safetensors(data, rng, numbers=(1 << 40, 1 << 62))
    if data[:2] == b"\0\0":  # IDX: one of the sizes
        place = 4 * rng.randrange(1, 1 + max(data[3], 1))
        return data[:place] + struct.pack(">I", rng.choice((1 << 20, (1 << 32) - 1))) + data[place + 4 :]
    if data[:4] == b"PAR1":  # the length of the footer
        return data[:-8] + struct.pack("<I", rng.choice((1 << 20, (1 << 32) - 1))) + data[-4:]
    if data[:2] == b"PK" and (at := data.find(b"'shape': (")) > 0:  # npz, stored: the shape of an array
        return data[: at + 10] + b"99" + data[at + 12 :]
    place = _somewhere(data, rng)
    return data[:place] + rng.choice((b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"9" * 400)) + data[place + 8 :]


def edit_values(data: bytes, rng: random.Random) -> bytes:
    """Change one value of JSON, JSON lines, TOML, CSV or the JSON in a safetensors file; else flip bits."""
    if data[8:9] == b"{" and data[:1] != b"{":
        return edit_safetensors(data, rng)
    try:
        return edit_json(data, rng)
    except ValueError:
        pass
    lines = data.splitlines(keepends=True)
    try:
        text = [line.decode() for line in lines]
    except UnicodeDecodeError:
        return flip_bits(data, rng)
    if text and text[0].startswith("{"):
        number = rng.randrange(len(lines))
        return b"".join([*lines[:number], edit_json(lines[number].strip(), rng) + b"\n", *lines[number + 1 :]])
    return _edit_text(text, rng).encode(errors="surrogateescape")


def _edit_text(lines: list[str], rng: random.Random) -> str:
    """Change a value of TOML, or a cell of CSV; or drop, repeat or swap lines."""
    if not lines:
        return "a = 1\n"
    number = rng.randrange(len(lines))
    line = lines[number].rstrip("\n")
    odd = rng.choice(
        ("nan", "inf", "-1", "0", "1e999", "9" * 30, '""', "[]", "{}", "true", '"x"', "[" * DEEP, "x" * 9999)
    )
    head, equals, _ = line.partition(" = ")
    if equals:
        lines[number] = f"{head} = {odd}\n"
    elif rng.random() < 0.5:
        cells = line.split(",")
        cells[rng.randrange(len(cells))] = odd
        lines[number] = ",".join(cells) + "\n"
    else:
        other = rng.randrange(len(lines))
        lines[number : number + 1] = rng.choice(([], [line + "\n"] * 2, [lines[other]]))
    return "".join(lines)


def edit_json(data: bytes, rng: random.Random, numbers: tuple[object, ...] = ()) -> bytes:
    """Change one value of JSON.

    Raises
    ------
    ValueError
        When it is none.
    """
    value = json.loads(data)
    places = list(_places(value))
    if not places:
        return b"[]"
    if numbers:
        places = [place for place in places if isinstance(_at(place), int)] or places
    holder, key = rng.choice(places)
    old = holder[key]
    if numbers:
        holder[key] = rng.choice(numbers)
        return json.dumps(value).encode()
    choices: list[Any] = [
        "__nan__",
        "__huge__",
        "__inf__",
        "__deep__",
        -1,
        0,
        "text",
        None,
        [],
        {},
        "x" * 99_999,
        True,
        "\ud800",
    ]
    if isinstance(old, (int, float)) and not isinstance(old, bool):
        choices += [old + 8, -old, old * 1.01, float(old) + 0.5] * 4
    if isinstance(old, list) and old:
        choices += [old[:-1], old[::-1], [*old, old[0]]] * 4
    if isinstance(old, dict) and len(old) > 1:
        keys = list(old)
        choices += [dict(zip(keys[::-1], old.values(), strict=True)), {k: old[k] for k in keys[1:]}] * 4
    if isinstance(old, str):
        choices += [old + "x", old[::-1], old.upper(), "", "../" + old, "\x1b[31m" + old] * 2
    holder[key] = rng.choice(choices)
    if rng.random() < 0.1:
        holder.pop(key)
    text = json.dumps(value)
    for mark, stands in (("nan", "NaN"), ("huge", "9" * 400), ("inf", "1e999"), ("deep", "[" * DEEP + "]" * DEEP)):
        text = text.replace(f'"__{mark}__"', stands)
    return text.encode()


def edit_safetensors(data: bytes, rng: random.Random, numbers: tuple[object, ...] = ()) -> bytes:
    """Change one value of the header, and update the length in the file's first bytes."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = edit_json(data[8 : 8 + length], rng, numbers)
    except ValueError:
        return flip_bits(data, rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every value in JSON, as its container and its key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _at(place: tuple[Any, Any]) -> Any:
    return place[0][place[1]]


CONTENT: dict[str, Damage] = {
    "bits flipped": flip_bits, "bytes zeroed": zero_bytes, "bytes inserted": insert_bytes,
    "bytes deleted": delete_bytes, "cut short": truncate, "empty": empty, "doubled": double, "not UTF-8": not_utf8,
    "NUL bytes": nul_bytes, "huge claim": huge_claim, "value edited": edit_values,
}  # fmt: skip
PLACES = ("missing", "folder", "pipe", "endless device", "broken link", "link loop")
OTHERS = ("of another run", "all of another run")
UNREADABLE = () if os.geteuid() == 0 else ("unreadable",)  # root can read everything
KINDS = (*CONTENT, "value edited", "value edited", *PLACES, *OTHERS, *UNREADABLE)  # a value: three times as often


def damage(path: Path, kind: str, seed: int, other: Path | None) -> None:
    """Damage a file.

    Parameters
    ----------
    path : Path
        May be a hard link: it is replaced, never written.
    kind : str
        One of `KINDS`.
    seed : int
    other : Path or None
        The same file of another run; where there is none, bits are flipped instead.
    """
    if kind in OTHERS and other is not None:
        together = kind == OTHERS[1] and other.parent.name != "stopped"
        mates = [one for one in other.parent.iterdir() if one.is_file()] if together else [other]
        for mate in mates:
            here = path.parent / mate.name if len(mates) > 1 else path
            here.unlink(missing_ok=True)
            shutil.copy2(mate, here)
        return
    facts, content = path.stat(), path.read_bytes() if kind not in PLACES else b""
    path.unlink()
    if kind == "folder":
        path.mkdir()
        (path / "held.txt").write_text("a folder in the place of a file")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless device":
        path.symlink_to("/dev/zero")
    elif kind == "broken link":
        path.symlink_to("nowhere")
    elif kind == "link loop":
        path.symlink_to(path.name)
    elif kind == "unreadable":
        path.write_bytes(content)
        path.chmod(0)
    elif kind != "missing":
        path.write_bytes(CONTENT.get(kind, flip_bits)(content, random.Random(seed)))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

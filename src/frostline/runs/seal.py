"""The checksum that an exported file carries in itself.

Somewhere in its bytes stands ``frostline-sha256:`` and 64 hex digits: the SHA-256 of the whole file with these digits
replaced by zeros. Nothing but the bytes is needed to check it::

    data = open("first.onnx", "rb").read()
    at = data.rindex(b"frostline-sha256:") + len(b"frostline-sha256:")
    assert hashlib.sha256(data[:at] + b"0" * 64 + data[at + 64 :]).hexdigest() == data[at : at + 64].decode()

An ``.onnx`` file has it as the last entry of its metadata ``frostline``, a ``.pt2`` file as its archive's comment.
"""

import hashlib
from typing import Literal

MARK = b"frostline-sha256:"
DIGITS = 64
UNSEALED = (MARK + b"0" * DIGITS).decode()  # stands in a file until it is whole


def sealed(data: bytes) -> bytes:
    """Return a file's content with the checksum in the place that `UNSEALED` holds."""
    at = data.rindex(MARK) + len(MARK)
    return data[:at] + _digest(data, at).encode() + data[at + DIGITS :]


def check_seal(data: bytes) -> Literal["whole", "damaged", "none"]:
    """Say whether a file's content is what was sealed; ``none`` where there is no checksum."""
    at = data.rfind(MARK) + len(MARK)
    if at < len(MARK):
        return "none"
    return "whole" if _digest(data, at).encode() == data[at : at + DIGITS] else "damaged"


def _digest(data: bytes, at: int) -> str:
    view, digest = memoryview(data), hashlib.sha256()
    for part in (view[:at], b"0" * DIGITS, view[at + DIGITS :]):
        digest.update(part)
    return digest.hexdigest()

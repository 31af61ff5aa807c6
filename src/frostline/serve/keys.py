"""API keys: read from a file, compared in constant time."""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from frostline._utils.files import MIB, read_bytes
from frostline.errors import ConfigError

SHORTEST = 16  # characters


class Keys:
    """The keys that open the server; their digests alone are kept.

    Parameters
    ----------
    keys : iterable of str
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def fits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether ``Authorization: Bearer KEY`` or ``X-API-Key: KEY`` is among a request's headers."""
        given = b""
        for name, value in headers:
            if name == b"x-api-key":
                given = value.strip()
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip()
        digest = _digest(given)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]  # every one: no early way out
        return any(matches)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()  # equal lengths, so that the comparison tells nothing


def read_keys(path: Path) -> Keys:
    """Read one key per line; empty lines and those that begin with ``#`` are left out.

    Raises
    ------
    ConfigError
        When there is none, or one is shorter than 16 characters, or is not visible ASCII without blanks: a header could
        not carry it.
    """
    try:
        lines = [line.strip() for line in read_bytes(path, MIB).decode("ascii").splitlines()]
    except OSError as error:
        raise ConfigError(f"--api-key-file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--api-key-file {path}: expected plain ASCII characters, one key per line.") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"--api-key-file {path} holds no key: write one per line.")
    for number, key in enumerate(keys, 1):
        if not all("!" <= character <= "~" for character in key):
            raise ConfigError(f"--api-key-file {path}: key {number} holds a blank or control character: remove it.")
        if len(key) < SHORTEST:
            raise ConfigError(
                f"--api-key-file {path}: key {number} has {len(key)} characters, expected at least {SHORTEST}: "
                "`openssl rand -hex 16` makes one."
            )
    return Keys(keys)

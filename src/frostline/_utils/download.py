"""Verified downloads with alternative addresses, a checksum and progress; no partial file is left behind."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from frostline._utils.progress import Progress, Silent, log
from frostline._utils.storage import replacing
from frostline.errors import DownloadError

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
PART_BYTES = 1 << 16


def offline() -> bool:
    """Whether ``FROSTLINE_OFFLINE`` forbids network access."""
    return os.environ.get("FROSTLINE_OFFLINE", "") not in ("", "0")


def addresses(official: Sequence[str]) -> list[str]:
    """Return the addresses of a file; ``FROSTLINE_MIRROR`` (a base address) replaces them."""
    mirror = os.environ.get("FROSTLINE_MIRROR", "")
    if mirror:
        return [f"{mirror.rstrip('/')}/{official[0].rsplit('/', 1)[1]}"]
    return list(official)


def download(
    urls: Sequence[str],
    target: Path,
    *,
    algorithm: str,
    digest_head: str,
    progress: Progress | None = None,
) -> Path:
    """Download one file to ``target``, trying its addresses in order.

    Its ``algorithm`` (``"md5"`` or ``"sha256"``) digest must begin with the hex digits ``digest_head``.

    Raises
    ------
    DownloadError
        If no address delivered a file with that digest; lists the reason for each.
    """
    if offline():
        raise DownloadError(
            f"{target.name} is not here and FROSTLINE_OFFLINE forbids downloading it: "
            f"unset it, or place the file at {target}."
        )
    failures = []
    for url in addresses(urls):
        try:
            with replacing(target) as partial:
                _fetch(url, partial, progress or Silent(), target.name)
                _check(partial, algorithm, digest_head)
            log.info("downloaded %s from %s", target.name, url)
            return target
        except _Failed as failure:
            failures.append(f"{url}: {failure}")
    raise DownloadError(
        f"{target.name} could not be downloaded ({'; '.join(failures)}). "
        f"Try again later, set FROSTLINE_MIRROR to a base address that has it, or place the file at {target}."
    )


class _Failed(Exception):  # noqa: N818 - not an error by itself: the next address may work
    """One address did not deliver the file."""


def _fetch(url: str, target: Path, progress: Progress, label: str) -> None:
    import requests

    try:
        with requests.get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
            response.raise_for_status()
            total = int(response.headers.get("content-length", 0))  # 0: unknown
            with target.open("wb") as file, progress.bar(f"downloading {label}", total, "B") as bar:
                for part in response.iter_content(PART_BYTES):
                    file.write(part)
                    bar.advance(len(part))
    except requests.exceptions.RequestException as error:
        raise _Failed(_reason(error)) from error


def _reason(error: Exception) -> str:
    import requests

    response = getattr(error, "response", None)
    if response is not None:
        return f"answered {response.status_code}"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate was not accepted"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "not reachable"
    if isinstance(error, (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)):
        return "not an HTTP address"
    return "connection lost"


def _check(path: Path, algorithm: str, digest_head: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).hexdigest()
    if not digest.startswith(digest_head):
        raise _Failed(f"sent a file with {algorithm} {digest}, expected {digest_head}")

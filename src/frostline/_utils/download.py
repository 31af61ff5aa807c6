"""Fetch a file once: several addresses, a checksum, progress, and nothing half-made in the cache."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frostline._utils.progress import Bar, Progress, Silent, log
from frostline._utils.storage import replacing
from frostline.errors import DownloadError

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0


def offline() -> bool:
    """Whether ``FROSTLINE_OFFLINE`` forbids asking any address."""
    return os.environ.get("FROSTLINE_OFFLINE", "") not in ("", "0")


def addresses(official: Sequence[str]) -> list[str]:
    """Return the addresses of a file; ``FROSTLINE_MIRROR`` (a base address) replaces them for closed networks."""
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
    """Download one file to ``target``, trying the addresses in order.

    Parameters
    ----------
    urls : sequence of str
        Addresses of the same file.
    target : Path
        Where the whole, checked file ends up.
    algorithm, digest_head : str
        ``"md5"`` or ``"sha256"`` and the hex digits that its digest must begin with.
    progress : Progress, optional
        Where the bar is drawn.

    Raises
    ------
    DownloadError
        When no address delivered a file with that digest; says what each one answered.
    """
    if offline():
        raise DownloadError(
            f"{target.name} is not here and FROSTLINE_OFFLINE forbids downloading it: "
            f"unset it, or place the file at {target}."
        )
    answers = []
    for url in addresses(urls):
        try:
            with replacing(target) as beside:
                _fetch(url, beside, progress or Silent(), target.name)
                _check(beside, algorithm, digest_head)
            log.info("downloaded %s from %s", target.name, url)
            return target
        except _Refused as refusal:
            answers.append(f"{url}: {refusal}")
    raise DownloadError(
        f"{target.name} could not be downloaded ({'; '.join(answers)}). "
        f"Try again later, set FROSTLINE_MIRROR to a base address that has it, or place the file at {target}."
    )


class _Refused(Exception):  # noqa: N818  (not an error by itself: the next address may answer)
    """One address did not deliver."""


class _PoochBar:
    """The progress object that pooch expects, drawn by ours."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.total = 0
        self._progress, self._label = progress, label
        self._context: Any = None
        self._bar: Bar | None = None
        self._done = 0
        self._full = False

    def update(self, amount: int) -> None:
        if self._full:
            return
        if self._bar is None:
            self._context = self._progress.bar(self._label, self.total, "B")
            self._bar = self._context.__enter__()
        if self.total:  # pooch counts the last, shorter piece as a whole one
            amount = min(amount, self.total - self._done)
        self._done += amount
        self._bar.advance(amount)

    def reset(self) -> None:
        """Pooch resets a finished bar and fills it once more; ours is full already."""
        self._full = True

    def close(self) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = self._bar = None


def _fetch(url: str, target: Path, progress: Progress, label: str) -> None:
    import pooch
    import requests

    bar = _PoochBar(progress, f"downloading {label}")
    fetch = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=(CONNECT_SECONDS, READ_SECONDS))
    try:
        with target.open("wb") as file:
            fetch(url, file, None)
    except requests.exceptions.RequestException as error:
        raise _Refused(_reason(error)) from error
    finally:
        bar.close()


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
        return "is no http address"
    return "broke off"


def _check(path: Path, algorithm: str, digest_head: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).hexdigest()
    if not digest.startswith(digest_head):
        raise _Refused(f"sent a file with {algorithm} {digest}, expected {digest_head}")

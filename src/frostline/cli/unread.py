"""Images that a command could not use: each is named on standard error, and they are counted at the end."""

from collections.abc import Iterable
from pathlib import Path

from frostline._utils.progress import log
from frostline.cli.console import Screen
from frostline.errors import DataError


class Unread:
    """Which images of some could not be used.

    Parameters
    ----------
    total : int
        How many there are in all.
    """

    def __init__(self, total: int) -> None:
        self._total, self._count, self._first = total, 0, ""

    def tell(self, faults: Iterable[tuple[Path, str]]) -> None:
        """Name files with what is wrong with them."""
        for path, reason in faults:
            self._first = self._first or f"{path} {reason}"
            self._count += 1
            log.warning("%s %s", path, reason)

    def conclude(self, screen: Screen, *, strict: bool) -> None:
        """Say how many there were.

        Raises
        ------
        DataError
            When there were only such images, or some and ``strict``.
        """
        if self._count == self._total:
            raise DataError(f"none of {self._total:,} images could be read; {self._first}.")
        if self._count and strict:
            raise DataError(f"{self._count:,} of {self._total:,} images could not be read (--strict); {self._first}.")
        if self._count:
            screen.say(f"warning: {self._count:,} of {self._total:,} images could not be read; the others were used")

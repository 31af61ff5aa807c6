"""How long work reports: text lines through `logging`, bars through whatever the caller hands in.

The library draws nothing by itself; the command line passes a rich implementation.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

log = logging.getLogger("frostline")


class Bar(Protocol):
    """A running progress bar."""

    def advance(self, amount: int) -> None:
        """Move on by that many units."""

    def note(self, text: str) -> None:
        """Show a short text beside the bar, e.g. the running loss."""


class Progress(Protocol):
    """Something that can show bars."""

    def bar(self, label: str, total: int, unit: str) -> AbstractContextManager[Bar]:
        """Open a bar for ``total`` units."""


class _SilentBar:
    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Silent:
    """Shows nothing: the default from Python."""

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Yield a bar that draws nothing."""
        yield _SilentBar()

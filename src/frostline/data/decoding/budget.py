"""What decoding one image may cost."""

from typing import NamedTuple


class Budget(NamedTuple):
    """What one image may cost: seconds of one core, and bytes beyond what the process has when it starts."""

    seconds: float = 2.0
    memory: int = 300_000_000

    @property
    def too_slow(self) -> str:
        """Why an image is refused that took longer."""
        return f"takes more than {self.seconds:g} s to decode"

    @property
    def too_large(self) -> str:
        """Why an image is refused that needed more."""
        return f"needs more than {self.memory / 1e6:,.0f} MB of memory to decode"


BUDGET = Budget()

"""What a curve is asked for, and its points."""

from dataclasses import dataclass

from frostline.errors import ConfigError, UnknownNameError

ALL = 0  # as a number of labels: every label there is
LABELS = (1, 5, 10, 50, 100, 500, ALL)

# Name: what it is called in tables, and whether it trains the network (and so is given a time).
WAYS: dict[str, tuple[str, bool]] = {
    "pixels": ("logistic regression on pixels", False),
    "random-frozen": ("random, frozen", False),
    "frozen": ("pre-trained, frozen", False),
    "fine-tuned": ("pre-trained, fine-tuned", True),
    "scratch": ("from scratch", True),
}


@dataclass(frozen=True)
class CurveSpec:
    """What a curve is asked for.

    Attributes
    ----------
    labels : tuple of int
        Labelled images per class; 0 stands for all.
    ways : tuple of str
        Names from `WAYS`.
    repeats : int
        How many draws of the labeled images; in one draw a larger number holds the smaller ones' images.
    seconds : float
        For each point of a way that trains the network.
    train_size : int
        Side in pixels for those ways.
    full : bool
        They are also asked with all labels.
    target : float
        The accuracy that the summary counts labels for.
    """

    labels: tuple[int, ...] = LABELS
    ways: tuple[str, ...] = tuple(WAYS)
    repeats: int = 3
    seconds: float = 60.0
    train_size: int = 64
    full: bool = False
    target: float = 0.8

    def points(self) -> list[tuple[str, int, int]]:
        """Return every (way, labels, repeat), cheap ways first.

        With all labels there is one repeat: nothing is left to draw.
        """
        return [
            (way, labels, repeat)
            for way in WAYS
            if way in self.ways
            for labels in self.labels
            if labels != ALL or self.full or not WAYS[way][1]
            for repeat in range(self.repeats if labels != ALL else 1)
        ]


@dataclass(frozen=True)
class CurvePoint:
    """One measured point; ``labels`` is per class, 0 for all."""

    way: str
    labels: int
    repeat: int
    accuracy: float
    seconds: float
    epochs: int


def check_question(question: CurveSpec) -> None:
    """Refuse what cannot be asked.

    Raises
    ------
    ConfigError, UnknownNameError
    """
    for way in question.ways:
        if way not in WAYS:
            raise UnknownNameError("way", way, WAYS)
    if not question.ways or not question.labels:
        raise ConfigError("--ways and --labels: expected at least one of each.")
    if question.seconds <= 0 or not 0 < question.target < 1:
        raise ConfigError("--seconds-per-point must be above 0, --target between 0 and 1, such as 0.8.")
    if question.repeats < 1 or any(number < 0 for number in question.labels):
        raise ConfigError("--repeats must be 1 or more, --labels numbers per class, or all.")


def how_many(labels: int) -> str:
    """Return ``all labels`` or, for example, ``10 labels per class``."""
    return "all labels" if labels == ALL else f"{labels} label{'s' if labels > 1 else ''} per class"

"""In which order stages are thawed: one boundary after the other."""

from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, Boundary


def boundaries(backbone: Backbone, boundary: Boundary, schedule: str) -> list[Boundary]:
    """Return the boundaries of a run's phases, the one asked for last.

    Parameters
    ----------
    schedule : str
        ``head-first``: the head on kept activations of every stage, then all thawed stages at once, beginning with that
        head (Kumar et al. 2022, arXiv:2202.10054); ``gradual``: after the head one more stage at a time, from the top
        (Howard & Ruder 2018, arXiv:1801.06146); ``together``: all at once, head included. With nothing to thaw they are
        one and the same.
    """
    if boundary.freeze == boundary.end:
        return [boundary]
    if schedule == "together":
        return [boundary]
    if schedule == "head-first":
        return [boundary.closed, boundary]
    first = 0 if boundary.freeze == NONE else backbone.position(boundary.freeze)
    depths = range(backbone.position(boundary.end) - 1, first - 1, -1)
    thawing = [Boundary(backbone.stage_names[depth], boundary.taps, boundary.end) for depth in depths]
    return [boundary.closed, *thawing, *([boundary] if boundary.freeze == NONE else [])]


def shares(epochs: int, phases: int) -> list[int]:
    """Return how many of some epochs each phase gets: as equal as can be, the last ones more, each at least one."""
    return [max(1, epochs * (number + 1) // phases - epochs * number // phases) for number in range(phases)]

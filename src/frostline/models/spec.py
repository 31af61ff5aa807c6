"""A network that has a name: how it is built, and which weights it can begin with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from frostline.models.backbone import Backbone
from frostline.models.weights import Offer


class Build(Protocol):
    """Builds the stages up to ``last`` (all of them when left out), with the pre-trained head only when asked for.

    With a seed the values are drawn; without one they mean nothing, and there may be none (torch's meta device).
    """

    def __call__(self, last: str | None = None, *, with_classifier: bool = False, seed: int | None = None) -> Backbone:
        """Return the network."""


@dataclass(frozen=True)
class Network:
    """An entry of the registry.

    Parameters
    ----------
    name : str
        What `--model` calls it.
    outline : callable
        Gives the whole network without values, its pre-trained head included.
    build : Build
    published_key : callable
        Where a tensor of ours (``stages.conv1.0.weight``) stands in the published state dict.
    offer : Offer
        The weights that there are.
    """

    name: str
    outline: Callable[[], Backbone]
    build: Build
    published_key: Callable[[str], str]
    offer: Offer

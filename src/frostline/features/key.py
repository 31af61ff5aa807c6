"""The identity of a way of computing: everything an activation depends on besides the image."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from torch import fx

from frostline._utils.hashing import digest_json
from frostline.data.preprocess import Preprocess
from frostline.models.boundary import TAP_GRID, Frozen
from frostline.models.registry import weights_digest

FORMAT_VERSION = 1


@dataclass(frozen=True)
class FeatureKey:
    """How activations are computed. Any field changed alone names another store.

    Parameters
    ----------
    network, freeze, taps, tap_grid
        Which stages run and which of their outputs are kept; a network that is not ours has a digest of its layers too.
    weights : str
        SHA-256 over the frozen stages' tensors.
    preprocess : dict
        `Preprocess.to_dict`.
    dtype : str
        ``float16`` or ``float32``: precision on disk.
    augment : dict, optional
        What views but the image itself depend on, seed included (`View.to_dict`).
    format : int
        Version of the files' layout.
    """

    network: str
    freeze: str
    taps: tuple[str, ...]
    tap_grid: int
    weights: str
    preprocess: dict[str, Any]
    dtype: str
    augment: dict[str, Any] | None = None
    format: int = FORMAT_VERSION

    @cached_property
    def digest(self) -> str:
        """32 hex digits: the store's folder name."""
        return digest_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {**asdict(self), "taps": list(self.taps)}


def feature_key(network: str, frozen: Frozen, preprocess: Preprocess, dtype: str) -> FeatureKey:
    """Return the spec of a frozen part and its preprocessing."""
    boundary = frozen.boundary
    return FeatureKey(
        network=network + _layers(frozen),
        freeze=boundary.freeze,
        taps=frozen.row_stages,
        tap_grid=TAP_GRID if frozen.row_stages else 0,
        weights=weights_digest(frozen),
        preprocess=preprocess.to_dict(),
        dtype=dtype,
    )


def _layers(frozen: Frozen) -> str:
    """Return a digest of what a name and weights do not tell of a network found elsewhere: strides, kinds, steps."""
    stages = frozen.stages.values()
    if not any(isinstance(stage, fx.GraphModule) for stage in stages):
        return ""
    return "@" + digest_json([[repr(stage), stage.code] for stage in stages])[:8]

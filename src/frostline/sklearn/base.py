"""Shared parts of the estimators: settings, network, features and pickling."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from sklearn.utils import check_random_state
from torch import nn

from frostline._utils.device import pick_device
from frostline._utils.progress import Progress
from frostline._utils.storage import cache_dir as cache_folder
from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset
from frostline.errors import ConfigError, UnknownNameError
from frostline.features.dataset import LiveFeatures
from frostline.models.backbone import Backbone
from frostline.models.boundary import Thawed
from frostline.models.heads import Head
from frostline.models.registry import load_backbone, rebuild
from frostline.pipeline.context import Context
from frostline.pipeline.extract import read_rows
from frostline.pipeline.resolve import ResolvedNetwork
from frostline.training.examples import Rows

# Parameters of the estimators that are not settings of a run, or have another name there.
OWN_PARAMS = {"random_state", "validation_fraction", "class_weight", "verbose", "cache_dir", "keep", "settings"}
# Settings that follow from X, y and random_state.
FIXED_SETTINGS = {"data", "data_dir", "strict", "limit", "labels_per_class", "seed"}


def make_config(params: Mapping[str, Any]) -> TrainConfig:
    """Return the settings for the parameters of an estimator (``get_params``).

    ``random_state`` is the seed, ``validation_fraction`` is ``val_fraction``, ``class_weight`` is ``class_weights``.

    Raises
    ------
    ConfigError
        When a value is invalid, or ``settings`` has an unknown setting or a parameter of the estimator.
    """
    values = {name: value for name, value in params.items() if name not in OWN_PARAMS}
    if "validation_fraction" in params:
        values["val_fraction"] = params["validation_fraction"]
        values["class_weights"] = params["class_weight"] or "none"
    settings = params.get("settings") or {}
    allowed = sorted(set(TrainConfig.model_fields) - FIXED_SETTINGS - set(values))
    for name in settings:
        if name in values:
            raise ConfigError(f"settings: '{name}' is a parameter of the estimator: set it there.")
        if name not in allowed:
            raise UnknownNameError("setting", name, allowed)
    return TrainConfig(data="images", seed=_seed(params["random_state"]), **values, **settings)


def _seed(random_state: Any) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def load_cached(
    name: str, weights: str, *, last: str, seed: int, cache_dir: Path, progress: Progress | None = None
) -> Backbone:
    """Load a network, or copy the one that was loaded last in this process with the same arguments.

    So ``auto`` is resolved once per search instead of in every fit, and a large file is read and checked once. A weight
    file that has changed is read again.
    """
    path = Path(weights).expanduser()
    version = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
    return copy.deepcopy(_load(name, weights, last, seed, cache_dir, version))


@lru_cache(maxsize=1)
def _load(name: str, weights: str, last: str, seed: int, cache_dir: Path, version: tuple[int, int] | None) -> Backbone:
    return load_backbone(name, weights, last=last, seed=seed, cache_dir=cache_dir)


State = dict[str, Any]


@dataclass(eq=False)
class FittedNetwork:
    """A network with an optional head.

    It is pickled with all its weights, like the bundle of a run, so it predicts the same where no weight file and no
    cache exist. For AlexNet's convolutions that is 10 MB.
    """

    network: ResolvedNetwork
    head: Head | None = None

    def trained_part(self, device: str) -> nn.Module:
        """Return the thawed stages, if any, and the head."""
        network = self.network
        thawed = Thawed(network.backbone, network.boundary, network.preprocess.image_size)
        return nn.Sequential(thawed, self.head or nn.Identity()).to(pick_device(device)).eval()

    def rows(
        self,
        images: ImageDataset,
        device: str,
        cache_dir: Path | str | None,
        *,
        keep: bool,
        progress: Progress | None = None,
    ) -> Rows:
        """Return the features of images, through the cache or, without ``keep``, computed without writing anything."""
        context = Context(cache_folder(cache_dir), pick_device(device), progress)
        forward = self.network.forward(context)
        if not keep:
            return LiveFeatures(images, forward)
        (rows,), _ = read_rows((images,), forward, self.network.feature_settings, context)
        return rows

    def __getstate__(self) -> State:
        network = self.network
        return {
            "config": network.config,
            "boundary": network.boundary,
            "preprocess": network.preprocess,
            "origin": network.backbone.origin,
            "stages": _arrays(network.backbone),
            "head": None if self.head is None else (self.head.spec, _arrays(self.head)),
        }

    def __setstate__(self, state: State) -> None:
        config, boundary = state["config"], state["boundary"]
        backbone = rebuild(config.model, boundary.end, _tensors(state["stages"]), state["origin"])
        self.network = ResolvedNetwork(config, backbone, boundary, state["preprocess"])
        self.head = None
        if state["head"] is not None:
            spec, arrays = state["head"]
            self.head = Head(spec)
            self.head.load_state_dict(_tensors(arrays))


def _arrays(module: nn.Module) -> State:
    return {key: value.detach().cpu().contiguous().numpy() for key, value in module.state_dict().items()}


def _tensors(arrays: State) -> dict[str, torch.Tensor]:
    return {key: torch.tensor(array) for key, array in arrays.items()}

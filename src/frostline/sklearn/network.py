"""A network as a fitted estimator holds it: it gives rows, and is pickled as arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frostline._utils.device import pick_device
from frostline._utils.progress import Progress
from frostline._utils.storage import cache_dir as cache_folder
from frostline.data.dataset import ImageDataset
from frostline.features.dataset import LiveFeatures
from frostline.models.boundary import Thawed
from frostline.models.heads import Head
from frostline.models.registry import rebuild
from frostline.pipeline.context import Context
from frostline.pipeline.extract import read_rows
from frostline.pipeline.resolve import ResolvedNetwork
from frostline.training.examples import Rows

State = dict[str, Any]


@dataclass(eq=False)
class FittedNetwork:
    """A network, and perhaps a head on it.

    It is pickled with every number it needs, as a run's bundle is: what was dumped predicts the same wherever it is
    loaded, though no weight file and no cache be there. For AlexNet's convolutions that is 10 MB.
    """

    network: ResolvedNetwork
    head: Head | None = None

    def trained(self, device: str) -> nn.Module:
        """Return what comes after the frozen stages: thawed ones, if any, and the head."""
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
        """Return what the frozen stages make of images: cached rows, or computed anew without writing anything."""
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

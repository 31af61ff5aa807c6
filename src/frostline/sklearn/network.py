"""A network as a fitted estimator holds it: it gives rows, and is pickled as arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frostline.activations.forward import FastForward
from frostline.activations.kept import LiveActivations
from frostline.config import TrainConfig
from frostline.device import pick_device
from frostline.images.dataset import ImageDataset
from frostline.images.preprocess import Preprocess
from frostline.networks.backbone import Backbone
from frostline.networks.boundary import Boundary, Frozen, Thawed
from frostline.networks.heads import Head
from frostline.networks.registry import rebuild
from frostline.progress import Progress
from frostline.runs.learn import activations
from frostline.storage import cache_dir as cache_folder
from frostline.training.examples import Rows

State = dict[str, Any]


@dataclass(eq=False)
class Network:
    """Stages, where they are cut, how pixels come in, and perhaps a head.

    It is pickled with every number it needs, as a run's bundle is: what was dumped predicts the same wherever it is
    loaded, though no weight file and no cache be there. For AlexNet's convolutions that is 10 MB.
    """

    config: TrainConfig
    backbone: Backbone
    boundary: Boundary
    preprocess: Preprocess
    head: Head | None = None

    def forward(self, device: str) -> FastForward:
        """Return the frozen stages."""
        return FastForward(Frozen(self.backbone, self.boundary), self.preprocess, pick_device(device))

    def trained(self, device: str) -> nn.Module:
        """Return what comes after them: thawed stages, if any, and the head."""
        thawed = Thawed(self.backbone, self.boundary, self.preprocess.image_size)
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
        """Return what the frozen stages make of pictures: kept rows, or computed anew without writing anything."""
        forward = self.forward(device)
        if not keep:
            return LiveActivations(images, forward)
        (rows,), _ = activations((images,), forward, self.config, cache_folder(cache_dir), progress)
        return rows

    def __getstate__(self) -> State:
        head = None if self.head is None else (self.head.spec, _arrays(self.head))
        return {
            "config": self.config,
            "boundary": self.boundary,
            "preprocess": self.preprocess,
            "origin": self.backbone.origin,
            "stages": _arrays(self.backbone),
            "head": head,
        }

    def __setstate__(self, state: State) -> None:
        self.config, self.boundary, self.preprocess = state["config"], state["boundary"], state["preprocess"]
        stages = _tensors(state["stages"])
        self.backbone = rebuild(self.config.model, self.boundary.end, stages, state["origin"])
        self.head = None
        if state["head"] is not None:
            spec, arrays = state["head"]
            self.head = Head(spec)
            self.head.load_state_dict(_tensors(arrays))


def _arrays(module: nn.Module) -> State:
    return {key: value.detach().cpu().contiguous().numpy() for key, value in module.state_dict().items()}


def _tensors(arrays: State) -> dict[str, torch.Tensor]:
    return {key: torch.tensor(array) for key, array in arrays.items()}

"""The networks that have a name, and loading them with weights."""

from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from frostline.errors import UnknownNameError, WeightsError
from frostline.hashing import digest_arrays, sha256_file
from frostline.networks import alexnet
from frostline.networks.backbone import Backbone, WeightsOrigin, channels_last
from frostline.networks.weights import choose, fitted, read_state
from frostline.progress import Progress


class Builder(Protocol):
    """What a network's module offers."""

    def build(self, last: str = ..., *, with_classifier: bool = ...) -> Backbone:
        """Build the stages up to ``last`` on torch's meta device."""

    def published_key(self, key: str) -> str:
        """Return where a tensor of ours stands in the published state dict."""


BUILDERS: dict[str, Builder] = {alexnet.NAME: alexnet}


def outline(name: str) -> Backbone:
    """Return a network's shape without values (on torch's meta device), its pre-trained head included.

    Raises
    ------
    UnknownNameError
        With the nearest match.
    """
    if name not in BUILDERS:
        raise UnknownNameError("model", name, BUILDERS)
    return BUILDERS[name].build(with_classifier=True)


def load_backbone(
    name: str = "alexnet",
    weights: str = "auto",
    *,
    last: str | None = None,
    with_classifier: bool = False,
    seed: int = 0,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> Backbone:
    """Load a network with weights.

    Parameters
    ----------
    name : str
        A name from ``frostline models list``.
    weights : str
        ``auto``, ``imagenet``, ``bundled``, ``random`` or the path of a ``.pth`` or ``.safetensors`` file.
    last : str, optional
        The deepest stage that is needed; the stage heads usually go on when left out.
    with_classifier : bool
        Load the pre-trained head too (all stages then).
    seed : int
        Draws the random weights.
    cache_dir : path, optional
        Frostline's cache.
    progress : Progress, optional
        Draws downloads.

    Returns
    -------
    Backbone
        In eval mode, ``channels_last``; ``origin`` says where the weights came from.

    Raises
    ------
    UnknownNameError, WeightsError, DownloadError
    """
    shape = outline(name)
    builder = BUILDERS[name]
    deepest = shape.stage_names[-1] if with_classifier else last or shape.feature_stage
    shape.position(deepest)
    backbone = builder.build(deepest, with_classifier=with_classifier)
    recorded, path, reason = choose(weights, Path(cache_dir) if cache_dir else None, progress)
    if path is None:
        backbone.to_empty(device="cpu")
        _draw(backbone, seed)
        digest = weights_digest(backbone)
    else:
        wanted = {builder.published_key(key): tuple(value.shape) for key, value in backbone.state_dict().items()}
        state = fitted(read_state(path), wanted, name, str(path))
        ours = {key: state[builder.published_key(key)] for key in backbone.state_dict()}
        backbone.load_state_dict(ours, assign=True)
        digest = sha256_file(path)
    backbone.origin = WeightsOrigin(recorded, digest, reason)
    backbone.requires_grad_(True)
    return channels_last(backbone)


def rebuild(name: str, last: str, state: dict[str, torch.Tensor], origin: WeightsOrigin | None) -> Backbone:
    """Return a network's stages up to ``last`` with tensors that its own ``state_dict`` once gave.

    Raises
    ------
    KeyError, RuntimeError
        When there is no such network, or the tensors are not its own.
    """
    backbone = BUILDERS[name].build(last)
    backbone.load_state_dict(state, assign=True)
    backbone.origin = origin
    return channels_last(backbone)


def check_digest(origin: WeightsOrigin, expected: str | None) -> None:
    """Refuse weights other than the ones a run was begun with.

    Raises
    ------
    WeightsError
    """
    if expected is not None and origin.sha256 != expected:
        raise WeightsError(
            f"the weights '{origin.name}' have SHA-256 {origin.sha256[:12]}…, expected {expected[:12]}…: "
            "the file has changed since; give the old one, or drop weights_sha256 from the configuration."
        )


def _draw(backbone: Backbone, seed: int) -> None:
    """He et al. 2015 (arXiv:1502.01852), normal, fan in, gain of ReLU; each stage has its own stream of numbers."""
    parts = [*backbone.stages.values(), *([backbone.classifier] if backbone.classifier is not None else [])]
    for index, part in enumerate(parts):
        stream = torch.Generator().manual_seed((seed * 1009 + index) % 2**63)
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=stream)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 over a module's tensors, names and shapes included."""
    state = module.state_dict()
    return digest_arrays((key, state[key].detach().cpu().contiguous().numpy()) for key in state)

"""The networks that have a name, and loading them with weights."""

import fnmatch
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from frostline._utils.hashing import digest_arrays, sha256_file
from frostline._utils.progress import Progress, visible
from frostline.errors import ConfigError, UnknownNameError, WeightsError, did_you_mean
from frostline.models import alexnet, efficientnet_lite, external
from frostline.models.backbone import Backbone, WeightsOrigin, channels_last
from frostline.models.weights import TENSORS, Network, State, choose, find_bundle, fitted, read_stages, read_state

NETWORKS: dict[str, Network] = {alexnet.NAME: alexnet.NETWORK, **efficientnet_lite.NETWORKS}


def find_network(name: str) -> Network:
    """Return the network of a name: ``alexnet``, ``timm:NAME`` or ``torchvision:NAME``.

    Raises
    ------
    UnknownNameError, ConfigError
        With the nearest match; when the package is not installed.
    """
    package, colon, inner = name.partition(":")
    if colon and package in external.PACKAGES:
        return external.PACKAGES[package].network(inner)
    if name not in NETWORKS:
        raise UnknownNameError(
            "model", name, NETWORKS, f", {' or '.join(f'{word}:NAME' for word in external.PACKAGES)}"
        )
    return NETWORKS[name]


def outline(name: str) -> Backbone:
    """Return a network's shape without values (on torch's meta device), its pre-trained head included.

    Raises
    ------
    UnknownNameError, ConfigError
    """
    return find_network(name).outline()


def list_networks(pattern: str) -> list[str]:
    """Return the names that match a pattern such as ``timm:resnet*``.

    Raises
    ------
    ConfigError
        When its package is not installed, or none matches.
    """
    package = pattern.partition(":")[0]
    known = external.PACKAGES[package].models() if package in external.PACKAGES else list(NETWORKS)
    found = fnmatch.filter(known, pattern)
    if not found:
        raise ConfigError(f"no model matches '{pattern}'.{did_you_mean(pattern, known)}")
    return found


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
        ``auto``, ``random``, the path of a ``.pth`` or ``.safetensors`` file, or the folder of a finished run; for
        AlexNet also ``imagenet`` and ``bundled``, for networks of other packages ``pretrained``.
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
    progress = visible(progress)
    network = find_network(name)
    shape = network.outline()
    deepest = shape.stage_names[-1] if with_classifier else last or shape.feature_stage
    shape.position(deepest)
    recorded, path, reason = choose(weights, network.offer, Path(cache_dir) if cache_dir else None, progress)
    if path is None:
        backbone = network.build(deepest, with_classifier=with_classifier, seed=seed)
        digest = weights_digest(backbone)
    else:
        backbone = network.build(deepest, with_classifier=with_classifier)
        bundle = find_bundle(path)
        if bundle is None:
            state = read_state(path, verified=recorded == network.offer.word)
            source, place_of = path, network.published_key
        else:
            state, source, place_of = read_stages(bundle, name), bundle / TENSORS, str
        _fill(backbone, state, place_of, name, source)
        digest = sha256_file(source)
    backbone.origin = WeightsOrigin(recorded, digest, reason)
    backbone.requires_grad_(True)
    return channels_last(backbone)


def _fill(backbone: Backbone, state: State, place_of: Callable[[str], str], name: str, source: Path) -> None:
    """Give a backbone the tensors of a file, in which each has a place of its own.

    Raises
    ------
    WeightsError
    """
    own = backbone.state_dict()
    places = {key: place_of(key) for key in own}
    chosen = fitted(state, {places[key]: tuple(value.shape) for key, value in own.items()}, name, str(source))
    for key, value in own.items():
        found = chosen[places[key]]
        if found.is_floating_point() != value.is_floating_point():
            raise WeightsError(
                f"{source} does not fit {name}: '{places[key]}' is {found.dtype}, expected {value.dtype}."
            )
    backbone.load_state_dict({key: chosen[place] for key, place in places.items()}, assign=True)


def rebuild(name: str, last: str, state: dict[str, torch.Tensor], origin: WeightsOrigin | None) -> Backbone:
    """Return a network's stages up to ``last`` with tensors that its own ``state_dict`` once gave.

    Raises
    ------
    UnknownNameError, KeyError, RuntimeError
        When there is no such network, or the tensors are not its own.
    """
    return filled(find_network(name).build(last), state, origin)


def filled(backbone: Backbone, state: dict[str, torch.Tensor], origin: WeightsOrigin | None) -> Backbone:
    """Return a backbone with the values of a ``state_dict``, in place, and where they came from."""
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


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 over a module's tensors, names and shapes included."""
    state = module.state_dict()
    return digest_arrays((key, state[key].detach().cpu().contiguous().numpy()) for key in state)

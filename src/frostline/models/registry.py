"""The registry of networks, and loading them with weights."""

import fnmatch
from pathlib import Path

from torch import nn

from frostline._utils.hashing import digest_arrays, sha256_file
from frostline._utils.progress import Progress, log, visible
from frostline.errors import ConfigError, UnknownNameError, WeightsError, did_you_mean
from frostline.models import alexnet, efficientnet_lite, external
from frostline.models.backbone import Backbone, WeightsOrigin, channels_last
from frostline.models.weights import TENSORS, Network, State, choose, find_bundle, fitted, read_stages, read_state

NETWORKS: dict[str, Network] = {alexnet.NAME: alexnet.NETWORK, **efficientnet_lite.NETWORKS}


def find_network(name: str) -> Network:
    """Return a network by its name: ``alexnet``, ``timm:NAME`` or ``torchvision:NAME``.

    ``NAME`` alone stands for the network of the first installed package that has it; the log says which.

    Raises
    ------
    UnknownNameError, ConfigError
        With the nearest match; if the package is not installed.
    """
    package, colon, inner = name.partition(":")
    if colon and package in external.PACKAGES:
        return external.PACKAGES[package].network(inner)
    if name in NETWORKS:
        return NETWORKS[name]
    known = external.short_names()
    short, point, tag = name.partition(".")  # timm names a network's weights after a point: resnet18.a1_in1k
    if short not in known:
        anywhere = f", {' or '.join(f'{word}:NAME' for word in external.PACKAGES)}"
        raise UnknownNameError("model", name, NETWORKS, anywhere, known)
    chosen, *others = (full + point + tag for full in known[short])
    also = f"; {', '.join(others)} is another one, with other weights" if others else ""
    log.info("model: '%s' is %s%s", name, chosen, also)
    return find_network(chosen)


def outline(name: str) -> Backbone:
    """Return a network without values (on torch's meta device), pre-trained head included.

    Raises
    ------
    UnknownNameError, ConfigError
    """
    return find_network(name).outline()


def list_networks(pattern: str) -> list[str]:
    """Return the names that match a pattern such as ``timm:resnet*``, or ``resnet*`` for those of all packages.

    Raises
    ------
    ConfigError
        If the package is not installed, or no name matches.
    """
    package = pattern.partition(":")[0]
    if package in external.PACKAGES:
        known = external.PACKAGES[package].models()
        found = fnmatch.filter(known, pattern)
    else:
        short = external.short_names()
        known = [*NETWORKS, *short]
        others = (full for name in fnmatch.filter(short, pattern) for full in short[name])
        found = [*fnmatch.filter(NETWORKS, pattern), *others]
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
        The last stage to load; by default the one that new heads usually read.
    with_classifier : bool
        Load all stages and the pre-trained head.
    seed : int
        Seed of the random weights.
    cache_dir : path, optional
        Frostline's cache folder.
    progress : Progress, optional
        Displays downloads.

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
    backbone = network.build(deepest, with_classifier=with_classifier, seed=seed if path is None else None)
    digest = weights_digest(backbone) if path is None else _fill_from(path, backbone, network, recorded)
    backbone.origin = WeightsOrigin(recorded, digest, reason)
    return channels_last(backbone.requires_grad_(True))


def _fill_from(path: Path, backbone: Backbone, network: Network, recorded: str) -> str:
    """Load the tensors of a weight file or a run's folder into a backbone; return the SHA-256 of the file.

    Raises
    ------
    WeightsError
    """
    bundle = find_bundle(path)
    source = path if bundle is None else bundle / TENSORS
    if bundle is None:
        state = read_state(path, verified=recorded == network.offer.word)
    else:
        state = read_stages(bundle, network.name)
    own = backbone.state_dict()
    source_keys = {key: key if bundle else network.published_key(key) for key in own}
    shapes = {source_keys[key]: tuple(value.shape) for key, value in own.items()}
    chosen = fitted(state, shapes, network.name, str(source))
    for key, value in own.items():
        found = chosen[source_keys[key]]
        if found.is_floating_point() != value.is_floating_point():
            raise WeightsError(
                f"{source} does not fit {network.name}: '{source_keys[key]}' is {found.dtype}, expected {value.dtype}."
            )
    backbone.load_state_dict({key: chosen[source_key] for key, source_key in source_keys.items()}, assign=True)
    return sha256_file(source)


def rebuild(name: str, last: str, state: State, origin: WeightsOrigin | None) -> Backbone:
    """Return a network's stages up to ``last`` with the tensors of a saved ``state_dict``.

    Raises
    ------
    UnknownNameError, KeyError, RuntimeError
        If there is no such network, or the tensors do not fit it.
    """
    return filled(find_network(name).build(last), state, origin)


def filled(backbone: Backbone, state: State, origin: WeightsOrigin | None) -> Backbone:
    """Load a ``state_dict`` into a backbone, record the origin of its weights and return it."""
    backbone.load_state_dict(state, assign=True)
    backbone.origin = origin
    return channels_last(backbone)


def check_digest(origin: WeightsOrigin, expected: str | None) -> None:
    """Reject weights that differ from those a run started with.

    Raises
    ------
    WeightsError
    """
    if expected is not None and origin.sha256 != expected:
        raise WeightsError(
            f"the weights '{origin.name}' have SHA-256 {origin.sha256[:12]}…, expected {expected[:12]}…: "
            "the file has changed; restore the old one, or remove weights_sha256 from the configuration."
        )


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's tensors, including their names and shapes."""
    state = module.state_dict()
    return digest_arrays((key, state[key].detach().cpu().contiguous().numpy()) for key in state)

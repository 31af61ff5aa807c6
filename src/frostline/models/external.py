"""Networks of other installed packages: `timm:NAME` and `torchvision:NAME`."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frostline._utils.progress import log
from frostline.errors import ConfigError, did_you_mean, first_line
from frostline.models.backbone import Backbone, Intake
from frostline.models.published import HubFile, Published, PublishedFile
from frostline.models.stages import cut
from frostline.models.weights import Network, Offer

PRETRAINED = "pretrained"
HUB_PREFIX = "models--timm--"  # of the folders of timm's networks in the hub's cache


@dataclass(frozen=True)
class NetworkCard:
    """A network as its package describes it."""

    make: Callable[[], nn.Module]  # draws the values from torch's global random numbers
    published: Published | None
    intake: Intake  # of the published weights


@dataclass(frozen=True)
class Package:
    """A package of networks."""

    name: str  # of the package, and of the extra that installs it
    names: Callable[[Any], list[str]]  # maps the imported package to the names of its networks
    card: Callable[[Any, str], NetworkCard]  # maps the imported package and a name to the network's card

    @property
    def version(self) -> str | None:
        """The installed version, or None."""
        return metadata.version(self.name) if find_spec(self.name) else None

    def load(self) -> Any:
        """Import the package.

        Raises
        ------
        ConfigError
            If it is not installed, or does not work with the installed torch.
        """
        if not find_spec(self.name):
            raise ConfigError(
                f"{self.name} is not installed: `pip install 'frostline[{self.name}]'`, "
                "or choose a model from `frostline models list`."
            )
        try:
            return import_module(self.name)
        except Exception as error:  # a build for another torch fails in many ways
            raise ConfigError(
                f"{self.name} is installed but cannot be imported ({first_line(error)}): "
                "install the version that matches your torch."
            ) from error

    def models(self) -> list[str]:
        """Return the names of its networks, for ``--model``."""
        return [f"{self.name}:{name}" for name in self.names(self.load())]

    def network(self, inner: str) -> Network:
        """Return a network of the package.

        Raises
        ------
        ConfigError
            If there is no network of that name; with the nearest match.
        """
        known = self.names(self.load())
        if inner.partition(".")[0] not in known:
            near = did_you_mean(inner, known).replace("'", f"'{self.name}:", 1)
            raise ConfigError(
                f"unknown model '{self.name}:{inner}': {self.name} {self.version} has no network of that name."
                f"{near} `frostline models list '{self.name}:*'` lists all {len(known):,}."
            )
        name = f"{self.name}:{inner}"
        outline, build = partial(_outline, self.name, inner), partial(_build, self.name, inner)
        return Network(name, outline, build, published_key, Offer(name, PRETRAINED, self._card(inner).published))

    def make(self, inner: str, seed: int | None) -> nn.Module:
        """Build a network without changing the state of torch's global random numbers."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm warns about some initializations
            torch.manual_seed(seed or 0)
            return self._card(inner).make().eval()

    def _card(self, inner: str) -> NetworkCard:
        try:
            return self.card(self.load(), inner)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConfigError(f"{self.name} cannot build '{inner}' ({first_line(error)}).") from error


@lru_cache(maxsize=1)
def short_names() -> dict[str, list[str]]:
    """Return the full names of each network of the installed packages by its name without the package."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES.values():
        try:
            names = package.models() if package.version else []
        except ConfigError as error:
            log.info("%s", error)
            continue
        for name in names:
            found.setdefault(name.partition(":")[2], []).append(name)
    return found


def published_key(key: str) -> str:
    """Map a key of our state dict to the package's: stages keep the network's own keys."""
    part, _, rest = key.partition(".")
    return rest.partition(".")[2] if part == "stages" else rest


@lru_cache(maxsize=4)
def _outline(package: str, inner: str) -> Backbone:
    """Return a network without values, after checking its stages; cached, because that takes a second."""
    source = PACKAGES[package]
    intake = source._card(inner).intake
    return Backbone.from_module(
        source.make(inner, None),
        name=f"{package}:{inner}",
        image_size=intake.image_size,
        mean=intake.mean,
        std=intake.std,
        interpolation=intake.interpolation,
    ).to("meta")


def _build(
    package: str, inner: str, last: str | None = None, *, with_classifier: bool = False, seed: int | None = None
) -> Backbone:
    shape = _outline(package, inner)
    pieces = cut(PACKAGES[package].make(inner, seed), shape.name)
    whole = Backbone(
        shape.name,
        pieces.stages,
        min_image_size=shape.min_image_size,
        feature_stage=shape.feature_stage,
        classifier=pieces.head,
        intake=shape.intake,
    )
    return whole.upto(last or shape.stage_names[-1], with_classifier=with_classifier)


def _timm_card(timm: Any, inner: str) -> NetworkCard:
    about = timm.models.get_pretrained_cfg(inner)
    published = None
    if about and about.hf_hub_id:
        repository, _, revision = about.hf_hub_id.partition("@")
        published = HubFile(repository, about.hf_hub_filename or "model.safetensors", revision or None)
    intake = Intake()
    if about:
        intake = Intake(about.input_size[-1], False, about.mean, about.std, _interpolation(about.interpolation))
    return NetworkCard(lambda: timm.create_model(inner, pretrained=False), published, intake)


def cached_timm_networks() -> list[str]:
    """Return, as ``--model`` names them, timm's networks that the Hugging Face hub's cache has; none without timm."""
    if not find_spec("timm"):
        return []
    from huggingface_hub import constants

    folders = sorted(Path(constants.HF_HUB_CACHE).glob(f"{HUB_PREFIX}*"))
    return [f"timm:{folder.name.removeprefix(HUB_PREFIX)}" for folder in folders]


def _torchvision_names(torchvision: Any) -> list[str]:
    return list(torchvision.models.list_models(module=torchvision.models))


def _torchvision_card(torchvision: Any, inner: str) -> NetworkCard:
    weights = torchvision.models.get_model_weights(inner).DEFAULT
    transforms = weights.transforms()
    file = weights.url.rpartition("/")[2]
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", file)
    published = PublishedFile((weights.url,), file, digits[1]) if digits else None
    size = transforms.crop_size[0]
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    intake = Intake(size, False, mean, std, _interpolation(transforms.interpolation.value))
    further = {"image_size": size} if inner.startswith("vit_") else {}
    return NetworkCard(partial(torchvision.models.get_model, inner, weights=None, **further), published, intake)


def _interpolation(name: str) -> str:
    return name if name == "bicubic" else "bilinear"


PACKAGES = {
    "timm": Package("timm", lambda timm: list(timm.list_models()), _timm_card),
    "torchvision": Package("torchvision", _torchvision_names, _torchvision_card),
}

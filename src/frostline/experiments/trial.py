"""One trial of a search: some settings, trained on some of the training pictures, judged by the validation split."""

import copy
import math
import time
from dataclasses import dataclass, replace
from typing import Any

from frostline.activations.forward import FastForward
from frostline.config import TrainConfig
from frostline.device import describe_device, seed_everything
from frostline.experiments.amounts import amounts, nested
from frostline.experiments.shelf import Shelf
from frostline.experiments.space import Choice, Space
from frostline.networks.boundary import Boundary, Frozen, make_boundary
from frostline.runs.choose import check_network, settle
from frostline.runs.learn import Material, make_ready
from frostline.runs.phases import plan
from frostline.training.loop import Phase, Trained, measure, train
from frostline.training.optimisers import layer_groups
from frostline.training.ridge import solve


@dataclass(frozen=True)
class Outcome:
    """What a training came to: accuracy on the whole validation split, and the epoch that has it."""

    accuracy: float
    epochs: int
    seconds: float


class Trials:
    """Trains with any settings of a space, on any of a few amounts of pictures; never reads the test split.

    Parameters
    ----------
    open_config : TrainConfig
        As asked for: what it leaves open is chosen anew for each trial and amount, as train chooses it.
    material : Material
        With settings that have nothing left open; its ``parts`` have the validation split that judges.
    space : Space

    Attributes
    ----------
    amounts : tuple of int
        Numbers of training pictures, ascending; the last is all.
    device : str
        Where they run, in words.
    """

    def __init__(self, open_config: TrainConfig, material: Material, space: Space) -> None:
        fixed = ("model", "weights", "weights_sha256", "freeze", "taps", "image_size", "workers")
        self._open = open_config.model_copy(update={name: getattr(material.config, name) for name in fixed})
        parts, seed = material.parts, material.config.seed
        self.amounts = amounts(len(parts.train), len(parts.train.class_names))
        self._positions = nested(parts.train.labels, self.amounts, seed)
        widest = Frozen(material.backbone, self._widest(space, material))
        self._shelf = Shelf(widest, material.preprocess.image_size)
        # The frozen stages run here, over the training and validation pictures.
        forward = FastForward(widest, material.preprocess, material.device)
        self._shelf((parts.train, parts.val), forward, material.config, material.cache, material.progress)
        self._material = replace(material, source=self._shelf, progress=None)
        self.device = describe_device(material.device)

    def _widest(self, space: Space, material: Material) -> Boundary:
        """Return the boundary with the most taps that a trial may read, every stage frozen."""
        choice, taps = space.get("taps"), tuple(self._open.taps)
        if isinstance(choice, Choice):
            taps = max((tuple(option["taps"]) for option in choice.options.values()), key=len)
        return make_boundary(material.backbone, material.config.freeze, taps).closed

    def config(self, changes: dict[str, Any], pictures: int) -> TrainConfig:
        """Return the settings of a trial with nothing left open.

        Raises
        ------
        ConfigError
            When they contradict each other.
        """
        config = TrainConfig(**self._open.model_dump() | changes)
        check_network(config)
        return settle(config, self._boundary(config), pictures)

    def _boundary(self, config: TrainConfig) -> Boundary:
        return make_boundary(self._material.backbone, config.freeze, tuple(config.taps))

    def run(self, changes: dict[str, Any], pictures: int) -> Outcome:
        """Train on one of the amounts of pictures.

        On all of them it is the training that `frostline.fit` does, whose best epoch on validation counts. On fewer the
        last epoch counts, and validation is read once; the strength of a head in closed form is chosen on it always.

        Raises
        ------
        DivergedError
            When the loss is no longer finite.
        """
        begun = time.perf_counter()
        config = self.config(changes, pictures)
        boundary, whole = self._boundary(config), pictures == self.amounts[-1]
        material = self._on(config, pictures, thaws=boundary.freeze != boundary.end)
        seed_everything(config.seed)
        head, trained, accuracy = None, Trained([], 0), math.nan
        for number, step in enumerate(plan(config, material.backbone, boundary)):
            ready = make_ready(step, material, head)
            head = ready.head
            if config.head == "ridge":
                solved = solve(head, ready.train, ready.val, prior=ready.prior, quiet=True)
                return Outcome(solved.val_accuracy, 1, time.perf_counter() - begun)
            trained = train(
                ready.module,
                ready.train,
                ready.val if whole else None,
                step.recipe,
                groups=layer_groups(ready.trunk.stages.values(), head, config.layer_decay),
                phase=Phase(number, step.boundary.freeze, trained),
                quiet=True,
            )
            accuracy = trained.history[trained.best_epoch - 1].val_accuracy
        if not whole:
            accuracy = measure(ready.module, ready.val)[1]
        return Outcome(accuracy, len(trained.history), time.perf_counter() - begun)

    def _on(self, config: TrainConfig, pictures: int, *, thaws: bool) -> Material:
        """Return what a trial works with; stages that it trains are copies."""
        shared = self._material
        some = replace(shared.parts, train=shared.parts.train.subset(self._positions[pictures]))
        return replace(
            shared, config=config, parts=some, backbone=copy.deepcopy(shared.backbone) if thaws else shared.backbone
        )

"""The five ways to train a classifier that a learning curve compares; each sees the labels of its point only."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from frostline.config import TrainConfig
from frostline.data.augment import View, make_augment
from frostline.data.dataset import ImageDataset
from frostline.data.preprocess import Preprocess
from frostline.features.dataset import LiveFeatures
from frostline.features.forward import FastForward
from frostline.models.backbone import Backbone
from frostline.models.boundary import Boundary
from frostline.models.heads import Head
from frostline.models.registry import load_backbone
from frostline.pipeline.context import Context
from frostline.pipeline.extract import read_rows
from frostline.pipeline.phases import PEAK_LR, recipe_of, stepwise, usual_epochs
from frostline.pipeline.resolve import resolve_network
from frostline.pipeline.train import make_head, make_trunk
from frostline.training.examples import Chosen, Examples, Rows
from frostline.training.optim import layer_groups
from frostline.training.trainer import Recipe, predict_logits, train

PIXEL_SIDE = 32  # larger images are shrunk for the regression on pixels
PIXELS_AT_ONCE = 1024
NETWORK_BATCH = 64
SCRATCH_LR = 1e-3
MOST_EPOCHS = 400  # upper limit, even if time is left
TRIAL_STEPS = 3
TRIAL_IMAGES = 256


@dataclass(frozen=True)
class Setting:
    """Settings shared by all ways.

    Attributes
    ----------
    config : TrainConfig
        Data set, weights, device and seed.
    pool, test : ImageDataset
        Labels are drawn from ``pool``; accuracy is measured on ``test``.
    needed : ndarray of int
        Positions in ``pool`` of all labeled images of any point, ascending.
    seconds : float
        Time limit of a point that trains the network, evaluation included.
    train_size : int
        Image side in pixels where the network is trained.
    """

    config: TrainConfig
    pool: ImageDataset
    test: ImageDataset
    needed: NDArray[np.int64]
    seconds: float
    train_size: int
    context: Context

    @property
    def device(self) -> torch.device:
        """Device to compute on."""
        return self.context.device


@dataclass(frozen=True)
class MethodResult:
    """Accuracy on the test split, and epochs: passes over the labeled images, those of the head alone included.

    An iteration of the regression on pixels (L-BFGS) counts as one.
    """

    accuracy: float
    epochs: int


Labeled = NDArray[np.int64]
Way = Callable[[Labeled, int], MethodResult]  # (positions of the labeled images in the pool, number of the repeat)


def pixels(setting: Setting) -> Way:
    """Fit a logistic regression on the pixels: the baseline without a network."""
    side = setting.pool.side
    fit = "crop" if setting.pool.is_square else setting.config.fit
    preprocess = Preprocess(min(side, PIXEL_SIDE) if side else PIXEL_SIDE, fit=fit)

    def numbers(images: ImageDataset) -> NDArray[np.float32]:
        parts = np.array_split(np.arange(len(images)), -(-len(images) // PIXELS_AT_ONCE))
        return np.concatenate(
            [preprocess.resize(images.pixels(part, preprocess.target)).flatten(1).numpy() / 255 for part in parts]
        )

    def way(labeled: Labeled, repeat: int) -> MethodResult:
        from sklearn.linear_model import LogisticRegression

        part = setting.pool.subset(labeled)
        model = LogisticRegression(max_iter=300, tol=1e-3).fit(numbers(part), part.labels)
        right = model.predict(numbers(setting.test)) == setting.test.labels
        return MethodResult(float(right.mean()), int(model.n_iter_.max()))

    return way


class _Trainer:
    """Trains copies of a network; the network itself is not modified."""

    def __init__(self, setting: Setting, **changes: object) -> None:
        config = stepwise(setting.config).model_copy(update=changes)
        self.setting = setting
        self.network = resolve_network(config, setting.pool, setting.context)
        self.config, self.boundary = self.network.config, self.network.boundary

    def fresh(self, repeat: int) -> Backbone:
        """Return a copy to train; random weights are drawn for each repeat."""
        if self.config.weights == "random":
            seed = self.config.seed + repeat
            return load_backbone(self.config.model, "random", last=self.boundary.end, seed=seed)
        return copy.deepcopy(self.network.backbone)

    def forward(self, backbone: Backbone, boundary: Boundary) -> FastForward:
        return replace(self.network, backbone=backbone).forward(self.setting.context, boundary)

    def features(self) -> tuple[Rows, Rows]:
        """Return the features of the pool (only at the needed positions) and of the test split."""
        setting, forward = self.setting, self.network.forward(self.setting.context, self.boundary.closed)
        chosen = setting.pool.subset(setting.needed)
        settings = self.network.feature_settings
        (needed,), _ = read_rows((chosen,), forward, settings, setting.context)
        (test,), _ = read_rows((setting.test,), forward, settings.float32, setting.context)
        places = np.full(len(setting.pool), -1, np.int64)
        places[setting.needed] = np.arange(len(setting.needed))
        return Chosen(needed, places), test

    def head(self, rows: Rows, labeled: Labeled, repeat: int) -> tuple[Head, int]:
        """Train a head on cached features for a fixed number of epochs."""
        part = self.examples(Chosen(rows, labeled), labeled)
        epochs = usual_epochs(len(part), self.config.batch_size, head_only=True)
        head = make_head(self.network.head, nn.Identity(), part, len(self.setting.pool.class_names)).to(
            self.setting.device
        )
        lr = PEAK_LR[self.config.optimizer, self.config.head]
        train(head, part, None, replace(self.recipe(epochs, repeat), lr=lr, clip_norm=0.0), quiet=True)
        return head, epochs

    def examples(self, rows: Rows, labeled: Labeled, views: tuple[Rows, ...] = ()) -> Examples:
        return Examples(rows, self.setting.pool.labels[labeled], views)

    def recipe(self, epochs: int, repeat: int) -> Recipe:
        return replace(recipe_of(self.config), epochs=epochs, seed=self.config.seed + repeat, patience=epochs)

    def train_all(
        self, labeled: Labeled, repeat: int, begun: float, head: Head | None = None, head_epochs: int = 0
    ) -> MethodResult:
        """Train all stages within the time limit, evaluation included, with a head that was trained before or not."""
        setting = self.setting
        backbone = self.fresh(repeat)
        trunk = make_trunk(
            backbone, self.boundary, self.network.preprocess.image_size, setting.device, amp=self.config.amp
        )
        part, seed = setting.pool.subset(labeled), self.config.seed + repeat
        below, augment = self.forward(backbone, self.boundary), make_augment(self.config.augment)
        views = [LiveFeatures(part, below, View(number, seed, augment)) for number in range(MOST_EPOCHS)]
        examples = self.examples(views[0], labeled, tuple(views[1:]))
        head = head or make_head(self.network.head, trunk, examples, len(part.class_names)).to(setting.device)
        module = nn.Sequential(trunk, head)
        recipe = replace(self.recipe(1, repeat), batch_size=NETWORK_BATCH)
        left = setting.seconds - self._evaluation_seconds(backbone, head) - (time.perf_counter() - begun)
        epochs = _epochs_in(left, module, examples, recipe)
        groups = layer_groups(trunk.stages.values(), head, recipe.layer_decay)
        train(module, examples, None, replace(recipe, epochs=epochs, patience=epochs), groups=groups, quiet=True)
        return MethodResult(self.accuracy(head, self._live(backbone, setting.test)), head_epochs + epochs)

    def _live(self, backbone: Backbone, images: ImageDataset) -> Rows:
        return LiveFeatures(images, self.forward(backbone, self.boundary.closed))

    def _evaluation_seconds(self, backbone: Backbone, head: Head) -> float:
        some = self.setting.test.subset(np.arange(min(TRIAL_IMAGES, len(self.setting.test))))
        rows = self._live(copy.deepcopy(backbone), some)
        begun = time.perf_counter()
        predict_logits(head, Examples(rows, some.labels))
        return (time.perf_counter() - begun) * len(self.setting.test) / len(some)

    def accuracy(self, head: Head, rows: Rows) -> float:
        """Return a head's accuracy on the test split."""
        logits = predict_logits(head, Examples(rows, self.setting.test.labels))
        return float((logits.argmax(1).numpy() == self.setting.test.labels).mean())


def frozen(setting: Setting, weights: str | None = None) -> Way:
    """Train a head on the cached features of frozen stages, which run once for all points."""
    network = _Trainer(setting, weights=weights or setting.config.weights)
    rows, test = network.features()

    def way(labeled: Labeled, repeat: int) -> MethodResult:
        head, epochs = network.head(rows, labeled, repeat)
        return MethodResult(network.accuracy(head, test), epochs)

    return way


def fine_tuned(setting: Setting) -> Way:
    """Train the head on cached features, then all stages within the time limit of a point."""
    network = _Trainer(setting, freeze="none", image_size=setting.train_size)
    rows, _ = network.features()

    def way(labeled: Labeled, repeat: int) -> MethodResult:
        begun = time.perf_counter()
        return network.train_all(labeled, repeat, begun, *network.head(rows, labeled, repeat))

    return way


def scratch(setting: Setting) -> Way:
    """Train the same network from random weights within the time limit of a point."""
    changes = {"freeze": "none", "schedule": "together", "image_size": setting.train_size, "lr": SCRATCH_LR}
    network = _Trainer(setting, weights="random", **changes)

    def way(labeled: Labeled, repeat: int) -> MethodResult:
        return network.train_all(labeled, repeat, time.perf_counter())

    return way


METHODS: dict[str, Callable[[Setting], Way]] = {
    "pixels": pixels,
    "random-frozen": lambda setting: frozen(setting, "random"),
    "frozen": frozen,
    "fine-tuned": fine_tuned,
    "scratch": scratch,
}


def _epochs_in(seconds: float, module: nn.Module, examples: Examples, recipe: Recipe) -> int:
    """Return the number of epochs (at least 1) that fit into a time, timed by a few steps on a copy."""
    few = np.arange(min(len(examples), TRIAL_STEPS * recipe.batch_size))
    part = Examples(Chosen(examples.views[0], few), examples.labels[few])
    for _ in range(2):  # the first run warms up
        begun = time.perf_counter()
        train(copy.deepcopy(module), part, None, recipe, quiet=True)
        taken = time.perf_counter() - begun
    left = seconds - 2 * taken
    return int(np.clip(left / (taken * len(examples) / len(few)), 1, MOST_EPOCHS))

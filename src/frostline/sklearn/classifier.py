"""Transfer learning as a scikit-learn classifier."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from frostline._utils.progress import log
from frostline._utils.storage import cache_dir as cache_folder
from frostline.config import TrainConfig
from frostline.data.augment import make_augment
from frostline.data.dataset import ImageDataset
from frostline.data.splits import by_group
from frostline.errors import InputError
from frostline.pipeline.context import make_context
from frostline.pipeline.extract import extract
from frostline.pipeline.resolve import Plan, RunSplits, check_network, resolve_network
from frostline.pipeline.train import TrainedModel, train
from frostline.runs.bundle import Model
from frostline.sklearn.base import FittedNetwork, load_cached, make_config
from frostline.sklearn.images import ImageInput, readable_images, unlabeled
from frostline.training.examples import Examples
from frostline.training.trainer import predict_logits


class TransferClassifier(ClassifierMixin, ImageInput):  # type: ignore[misc]
    """Train a head on the features of the frozen stages of a pre-trained network.

    Parameters and defaults are those of ``frostline train`` (`frostline.TrainConfig`); unset ones are resolved from the
    data. Features are cached by image, so a search, a cross-validation or a permutation test runs the frozen stages
    once for each image, however many fits it makes.

    Parameters
    ----------
    model : str
        Pre-trained network, a name from ``frostline models list``; ``auto``: the best for X of those with weights
        on this machine, or AlexNet where ``weights``, ``freeze`` or ``taps`` is set.
    weights : str
        ``auto``, ``imagenet``, ``bundled``, ``random``, or a ``.pth`` or ``.safetensors`` file.
    freeze : str
        The last frozen stage; ``auto`` is the network's usual one. Stages above it are trained. With ``none`` all
        stages are trained, and nothing is cached.
    taps : "auto", "none" or tuple of str
        Stages the head reads, averaged to a small grid.
    image_size : int, optional
        Side in pixels that images are resized to; by default 128 if no image of `fit` has a side above 64, else 224.
    head : str
        ``linear``, ``mlp``, ``ridge`` (fitted in closed form) or ``auto``: ``ridge`` on few images, else ``linear``.
    epochs, batch_size, lr, weight_decay
        Hyperparameters of gradient descent.
    views : int, optional
        Augmented versions of each image to train on.
    validation_fraction : float
        Fraction of each class in X (at least one image) that selects the epoch, or the penalty of ``ridge``, and the
        temperature; copies of an image stay together. A class of one image is only trained on. If all classes have
        one image, the training images select.
    class_weight : "balanced" or None
        With ``"balanced"`` rare classes count as much as frequent ones.
    random_state : int, RandomState or None
        Seed of the validation split, the order of the images, their views and ``random`` weights.
    verbose : int
        1 prints log messages, and shows progress bars in a notebook; 0 prints warnings only.
    device : str
        ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda`` or ``mps``.
    cache_dir : path, optional
        Folder of the feature cache; Frostline's default when left out.
    keep : bool
        Cache the features of predicted images too, as a search needs it. ``False`` writes nothing, for a model in use.
        The features of the images of `fit` are always cached.
    settings : dict, optional
        Further settings by their names in `frostline.TrainConfig`, such as ``{"optimizer": "sgd", "dropout": 0.3}``.

    Attributes
    ----------
    classes_ : ndarray
        The labels, sorted.
    n_features_in_ : int
        Number of values of an image; missing after a fit on paths.
    config_ : TrainConfig
        The settings with all options resolved.
    history_ : list of Epoch
    best_epoch_ : int
        The selected epoch.
    frozen_pass_ : FrozenPass
        Number of images whose features `fit` needed, and how many were cached before.
    network_ : FittedNetwork
        A pickled classifier includes all weights: it needs no weight file and no cache where it is loaded.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> search = GridSearchCV(TransferClassifier(), {"head": ["linear", "ridge"], "taps": ["auto", "none"]}, n_jobs=2)
    """

    def __init__(
        self,
        *,
        model: str = "auto",
        weights: str = "auto",
        freeze: str = "auto",
        taps: str | tuple[str, ...] = "auto",
        image_size: int | None = None,
        head: str = "auto",
        epochs: int | None = None,
        batch_size: int = 256,
        lr: float | None = None,
        weight_decay: float = 0.05,
        views: int | None = None,
        validation_fraction: float = 0.1,
        class_weight: str | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
        device: str = "auto",
        cache_dir: Path | str | None = None,
        keep: bool = True,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.weights = weights
        self.freeze = freeze
        self.taps = taps
        self.image_size = image_size
        self.head = head
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.views = views
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.cache_dir = cache_dir
        self.keep = keep
        self.settings = settings

    def fit(self, X: Any, y: Any) -> "TransferClassifier":
        """Train on images.

        Parameters
        ----------
        X : array-like
            uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3); or N paths. Unreadable files are left out, with
            their labels and a warning.
        y : array-like of shape (N,)
            Labels of any kind.

        Raises
        ------
        InputError, ConfigError, DataError, WeightsError, DownloadError, StorageError
        """
        images = self._check_images(X, reset=True)
        if y is None:
            raise InputError("TransferClassifier requires y to be passed, but the target y is None: label each image.")
        y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
        check_classification_targets(y)
        check_consistent_length(images, y)
        config = make_config(self.get_params())
        check_network(config)
        with self._logging():
            dataset, kept = readable_images(images, cache_folder(self.cache_dir))
            self.classes_, numbers = np.unique(y[kept], return_inverse=True)
            dataset = replace(dataset, labels=numbers, class_names=self._class_names)
            with torch.random.fork_rng(devices=[]):  # does not affect the caller's random state
                model = self._train(dataset, config)
        self.config_, self.network_ = model.plan.config, FittedNetwork(model.plan.network, model.head)
        self.history_, self.best_epoch_ = model.trained.history, model.trained.best_epoch
        self.frozen_pass_ = model.frozen_pass
        return self

    def _train(self, dataset: ImageDataset, config: TrainConfig) -> TrainedModel:
        context, splits = (
            make_context(config.device, self.cache_dir, self._progress, config.engine),
            split(dataset, config),
        )
        network = resolve_network(config, splits.train, context, load=load_cached)
        return train(extract(Plan(network, splits), context))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return class probabilities (N, classes), in the order of ``classes_``; X as in `fit`.

        Raises
        ------
        InputError, DataError, StorageError
        """
        check_is_fitted(self)
        images = unlabeled(self._check_images(X, reset=False))
        with self._logging():
            rows = self.network_.rows(images, self.device, self.cache_dir, keep=self.keep, progress=self._progress)
        logits = predict_logits(self.network_.trained_part(self.device), Examples(rows, images.labels))  # (N, classes)
        probabilities: NDArray[np.float64] = logits.double().softmax(1).numpy()
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each image; X as in `fit`."""
        chosen = self.predict_proba(X).argmax(1)
        labels: NDArray[Any] = self.classes_[chosen]
        return labels

    @property
    def _class_names(self) -> tuple[str, ...]:
        return tuple(map(str, self.classes_))

    @property
    def model_(self) -> Model:
        """The model for `frostline.Classifier` and `frostline.runs.bundle.save_bundle`."""
        check_is_fitted(self)
        network = self.network_.network
        return Model(
            network.backbone,
            network.boundary,
            network.preprocess,
            self.network_.head,  # type: ignore[arg-type]
            self._class_names,
            mirror=make_augment(self.config_.augment).flip > 0,
        )


def split(dataset: ImageDataset, config: TrainConfig) -> RunSplits:
    """Split X into training and validation images, whatever their order; the test split is empty."""
    copies = np.unique(dataset.row_ids, return_inverse=True)[1]  # equal images have one number
    val, train = by_group(dataset.labels, copies, config.val_fraction, config.seed)
    if not len(val):
        log.warning("every class has one image only: the training images select the epoch")
        val = train
    return RunSplits(dataset.subset(train), dataset.subset(val), dataset.subset(np.arange(0)))

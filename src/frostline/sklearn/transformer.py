"""Feature extraction as a scikit-learn transformer."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from frostline.errors import ConfigError
from frostline.models.alexnet import NAME as ALEXNET
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, Frozen
from frostline.models.registry import outline
from frostline.pipeline.context import make_context
from frostline.pipeline.rank import AUTO
from frostline.pipeline.resolve import resolve_network, with_freeze
from frostline.sklearn.base import FittedNetwork, load_cached, make_config
from frostline.sklearn.images import ImageInput, readable_images, unlabeled


class FeatureExtractor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ImageInput):  # type: ignore[misc]
    """Extract features of images with the frozen stages of a pre-trained network.

    Features are cached by image, so a search or a cross-validation over a pipeline runs the network once for each
    image. `fit` only resolves the image size if it is unset.

    Parameters
    ----------
    model : str
        Pre-trained network, a name from ``frostline models list``; ``auto``: AlexNet, for lack of labels to choose by.
    weights : str
        ``auto``, ``imagenet``, ``bundled``, ``random``, or a ``.pth`` or ``.safetensors`` file.
    freeze : str
        The last stage that runs.
    taps : "auto", "none" or tuple of str
        Stages whose outputs form a row, averaged to a small grid except that of ``freeze``. ``none``: the output of
        ``freeze`` alone. ``auto``: every convolution stage up to ``freeze``, or a fully connected ``freeze`` alone.
    image_size : int, optional
        Side in pixels that images are resized to; by default 128 if no image of `fit` has a side above 64, else 224.
    random_state : int, RandomState or None
        Seed of ``random`` weights.
    verbose : int
        1 prints log messages, and shows progress bars in a notebook; 0 prints warnings only.
    device : str
        ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda`` or ``mps``.
    workers : int, optional
        Threads that decode image files; all cores when left out.
    cache_dtype : str
        ``float16`` or ``float32``: precision of cached rows.
    cache_dir : path, optional
        Folder of the feature cache; Frostline's default when left out.
    keep : bool
        Cache the rows. ``False`` computes them in every call and writes nothing.

    Attributes
    ----------
    n_features_in_ : int
        Number of values of an image; missing after a fit on paths.
    image_size_ : int
    network_ : FittedNetwork
        A pickled transformer includes the weights: it needs no weight file where it is loaded.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> model = make_pipeline(FeatureExtractor(taps="none"), LogisticRegression(max_iter=1000))
    """

    def __init__(
        self,
        *,
        model: str = "auto",
        weights: str = "auto",
        freeze: str = "auto",
        taps: str | tuple[str, ...] = "auto",
        image_size: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
        device: str = "auto",
        workers: int | None = None,
        cache_dtype: str = "float16",
        cache_dir: Path | str | None = None,
        keep: bool = True,
    ) -> None:
        self.model = model
        self.weights = weights
        self.freeze = freeze
        self.taps = taps
        self.image_size = image_size
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.workers = workers
        self.cache_dtype = cache_dtype
        self.cache_dir = cache_dir
        self.keep = keep

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # uint8 in, float32 out
        return tags

    def fit(self, X: Any, y: Any = None) -> "FeatureExtractor":
        """Load the network; resolve the image size and, for files of more than 8 bits, their scale.

        No image runs through the network yet.

        Raises
        ------
        InputError, ConfigError, WeightsError, DownloadError
        """
        images = self._check_images(X, reset=True)
        config = make_config(self.get_params())
        if config.model == AUTO:
            config = config.model_copy(update={"model": ALEXNET})
        shape = outline(config.model)
        config = with_freeze(config, shape)
        config = config.model_copy(update={"taps": _frozen_taps(shape, config.freeze, config.taps)})
        context = make_context(self.device, self.cache_dir, self._progress)
        with self._logging():
            readable, _ = readable_images(images, context.cache)
            network = resolve_network(config, readable, context, load=load_cached)
        self.network_ = FittedNetwork(network)
        self.image_size_ = network.preprocess.image_size
        pixels = torch.empty(1, 3, self.image_size_, self.image_size_, device="meta")  # computes shapes only
        self._n_features_out = Frozen(shape, network.boundary)(pixels).numel()
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return one row (N, F) for each image.

        Raises
        ------
        InputError, DataError, StorageError
        """
        check_is_fitted(self)
        images = unlabeled(self._check_images(X, reset=False))
        with self._logging():
            rows = self.network_.rows(images, self.device, self.cache_dir, keep=self.keep, progress=self._progress)
        features: NDArray[np.float32] = rows.take(np.arange(len(images))).flatten(1).numpy()
        return features


def _frozen_taps(shape: Backbone, freeze: str, taps: tuple[str, ...] | str) -> tuple[str, ...]:
    """Return the stages up to ``freeze`` whose outputs form a row; none for the output of ``freeze`` as it is."""
    if freeze == NONE:
        raise ConfigError("freeze = 'none': features come from frozen stages; choose the last one, such as conv5.")
    depth, usual = shape.position(freeze), shape.position(shape.feature_stage)
    if taps == "auto":
        taps = tuple(tap for tap in shape.usual_taps if shape.position(tap) <= depth) if depth <= usual else ()
    above = [tap for tap in taps if shape.position(tap) > depth]
    if above:
        raise ConfigError(f"taps: {', '.join(above)} lies above {freeze}, the last stage that runs: leave it out.")
    return tuple(taps) or ((freeze,) if depth < usual else ())

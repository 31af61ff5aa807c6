"""Index of reduced features: nearest training images, and a map of the test images.

runs/NAME/index.safetensors, at most 10 MB
  mean, axes     mean features (F,) and principal components (F, K) of the sample
  train.points   (M, K), a stratified sample of the training split; train.labels int64 (M,); train.* thumbnails
  test.points    (T, K), up to 3,000 images of the test split; test.positions int64 (T,), their positions in it
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from frostline._utils.files import MIB, parse_tensors
from frostline._utils.manifest import read_manifest
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.data.dataset import ImageDataset
from frostline.data.splits import evenly
from frostline.data.thumbnails import Thumbnails, make_thumbnails
from frostline.models.heads import Head
from frostline.runs.folder import Run
from frostline.training.examples import Examples, principal_axes

SAMPLE = 1500  # training images
MAP = 3000  # test images
AXES = 64
AXES_BYTES = 2_700_000
IMAGES_BYTES = 5_000_000
FEATURES_BYTES = 300_000_000  # of the sample that the axes are computed from
BATCH = 256
MAX_BYTES = 256 * MIB


@dataclass(frozen=True, eq=False)
class Index:
    """Reduced features, and thumbnails of the training sample.

    Attributes
    ----------
    mean : Tensor (F,)
    axes : Tensor (F, K)
        Scaled by the head's standardization: ``(features - mean) @ axes`` is a point.
    train_points : Tensor (M, K)
    train_labels : ndarray of int64 (M,)
    images : Thumbnails
        Of the training sample, in its order.
    test_points : Tensor (T, K)
    test_positions : ndarray of int64 (T,)
        Ascending positions in the test split.
    """

    mean: torch.Tensor
    axes: torch.Tensor
    train_points: torch.Tensor
    train_labels: NDArray[np.int64]
    images: Thumbnails
    test_points: torch.Tensor
    test_positions: NDArray[np.int64]

    def points(self, features: torch.Tensor) -> torch.Tensor:
        """Return the points (N, K) of head inputs (N, ...)."""
        return (features.flatten(1).cpu().float() - self.mean) @ self.axes

    def nearest(self, features: torch.Tensor, count: int = 5) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the nearest training images of head inputs (N, ...), nearest first.

        Returns
        -------
        members : ndarray of int64, shape (N, count)
            Positions in the sample; fewer columns for a smaller sample.
        similarity : ndarray of float32, shape (N, count)
            Cosine, -1 to 1.
        """
        unit = nn.functional.normalize
        cosines = unit(self.points(features)) @ unit(self.train_points).T  # (N, M)
        similarity, members = cosines.topk(min(count, len(self.train_labels)))
        return members.numpy(), similarity.numpy()


def write_index(
    path: Path,
    trunk: nn.Module,
    head: Head,
    train: Examples,
    test: Examples,
    images: ImageDataset,
    fit: str,
    seed: int,
) -> NDArray[np.integer]:
    """Draw the samples, reduce their features and write the index; return the positions of the test images in it.

    ``trunk`` maps rows to head inputs, ``head`` standardizes them; ``images`` are the training split in the order of
    ``train``, and ``fit`` is how they become square for the network.
    """
    sample = stratified(train.labels, SAMPLE, seed)
    while True:
        thumbnails = make_thumbnails(images, sample, fit)
        total = sum(map(len, thumbnails.encoded))
        if total <= IMAGES_BYTES:
            break
        sample = stratified(train.labels, len(sample) * IMAGES_BYTES // total - 1, seed)
    mean, scale = head.mean.cpu(), head.scale.cpu()
    axes = scale[:, None] * _principal_axes(trunk, train, sample, mean, scale)  # (F, K)
    positions = test.typical(MAP, seed)
    tensors = {
        "mean": mean,
        "axes": axes,
        "train.points": _points(trunk, train, sample, mean, axes),
        "train.labels": torch.from_numpy(train.labels[sample]),
        "test.points": _points(trunk, test, positions, mean, axes),
        "test.positions": torch.from_numpy(positions),
    } | thumbnails.to_tensors("train")
    write_bytes(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}), OTHER_OUTPUT_DIR)
    return positions


def read_index(path: Path) -> Index:
    """Read the index of a run folder.

    Raises RunError when it is missing, damaged, or not as the run wrote it.
    """
    return Run(path.parent).parse(path.name, _index, MAX_BYTES)


def _index(data: bytes) -> Index:
    tensors = parse_tensors(data)
    index = Index(
        tensors["mean"],
        tensors["axes"].float(),
        tensors["train.points"].float(),
        tensors["train.labels"].numpy(),
        Thumbnails.from_tensors("train", tensors),
        tensors["test.points"].float(),
        tensors["test.positions"].numpy(),
    )
    _check(index)
    return index


def find_index(run: Run) -> Index | None:
    """Return the index of a run, or None for runs without one; raises as `read_index`."""
    manifest = read_manifest(run.folder)
    listed = manifest is not None and run.index.name in manifest.files
    return read_index(run.index) if listed or run.has(run.index.name) else None


def _check(index: Index) -> None:
    """Raise ``ValueError`` when shapes are inconsistent or values invalid."""
    features, axes = index.axes.shape
    members, shown = len(index.train_labels), len(index.test_positions)
    expected = {
        "mean": (index.mean, (features,)),
        "axes": (index.axes, (features, axes)),
        "train.points": (index.train_points, (members, axes)),
        "test.points": (index.test_points, (shown, axes)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape or not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ValueError(f"{name} is not a table of finite numbers {shape}")
    for name, numbers in (("train.labels", index.train_labels), ("test.positions", index.test_positions)):
        if numbers.dtype != np.int64 or numbers.ndim != 1 or (len(numbers) and numbers.min() < 0):
            raise ValueError(f"{name} is not a row of non-negative integers")
    if len(index.images) != members:
        raise ValueError(f"{len(index.images)} thumbnails for {members} images")


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Draw up to ``count`` positions, as evenly from the classes as possible; ascending."""
    return np.sort(evenly(labels, np.random.default_rng([seed, 0x1DE]))[:count])


@torch.inference_mode()
def _head_inputs(trunk: nn.Module, examples: Examples, positions: NDArray[np.integer]) -> torch.Tensor:
    """Return the head inputs (N, F) of some examples."""
    trunk.eval()
    device = next((parameter.device for parameter in trunk.parameters()), torch.device("cpu"))
    batches = [positions[start : start + BATCH] for start in range(0, len(positions), BATCH)]
    return torch.cat([trunk(examples.rows.take(batch).to(device)).flatten(1).cpu().float() for batch in batches])


def _points(
    trunk: nn.Module, examples: Examples, positions: NDArray[np.integer], mean: torch.Tensor, axes: torch.Tensor
) -> torch.Tensor:
    batches = [positions[start : start + BATCH] for start in range(0, len(positions), BATCH)]
    empty = torch.empty(0, axes.shape[1])
    return torch.cat([empty, *((_head_inputs(trunk, examples, batch) - mean) @ axes for batch in batches)])


def _principal_axes(
    trunk: nn.Module, examples: Examples, sample: NDArray[np.integer], mean: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Return the principal axes (F, K) of a standardized sample."""
    most = max(2, FEATURES_BYTES // (4 * len(mean)))
    if len(sample) > most:
        sample = sample[np.linspace(0, len(sample) - 1, most).astype(int)]
    x = (_head_inputs(trunk, examples, sample) - mean) * scale  # (M, F)
    return principal_axes(x, max(1, min(AXES, len(sample) - 1, AXES_BYTES // (4 * len(mean)))))

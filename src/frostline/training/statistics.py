"""Statistics of features: mean and standard deviation, standardized rows, principal axes."""

from collections.abc import Iterator

import torch
from torch import nn

from frostline.models.heads import Head
from frostline.training.examples import EVALUATION_BATCH, Examples

MOMENT_ROWS = 4096
MOMENT_BATCH = 512


def moments(module: nn.Module, examples: Examples, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (F,) of a module's outputs for up to 4,096 rows, drawn by seed."""
    chosen = examples.typical(MOMENT_ROWS, seed)
    count = len(chosen)
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        module.eval()
        total = square = torch.zeros(())
        for start in range(0, count, MOMENT_BATCH):
            rows = examples.rows.take(chosen[start : start + MOMENT_BATCH])
            values = module(rows.to(device)).flatten(1).double().cpu()  # (B, F)
            total, square = total + values.sum(0), square + values.square().sum(0)
        mean = total / count
        std = (square / count - mean.square()).clamp_min(0).sqrt()
    return mean.float().clone(), std.float().clone()


def standardized(head: Head, *parts: Examples) -> Iterator[torch.Tensor]:
    """Yield batches of rows (B, F) on the CPU, standardized as a head does it."""
    mean, scale = head.mean.cpu(), head.scale.cpu()
    for examples in parts:
        for rows, _ in examples.batches(EVALUATION_BATCH):
            yield (rows.flatten(1) - mean) * scale


def principal_axes(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Return the first ``count`` principal axes of rows (N, F), centered in place: unit columns (F, count).

    They come from the N x N Gram matrix, for samples with fewer rows than features; sklearn's PCA would
    decompose the F x F covariance or, randomized, give other axes for another seed.
    """
    rows -= rows.mean(0)
    values, vectors = torch.linalg.eigh((rows @ rows.T).double())  # ascending
    values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1)
    axes: torch.Tensor = rows.T @ (vectors / values.clamp_min(1e-6).sqrt()).float()
    return axes

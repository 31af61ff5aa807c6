"""How far apart two tensors are."""

import torch


def largest_gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest number expected."""
    assert found.shape == expected.shape
    assert expected.abs().max() > 0
    return float((found - expected).abs().max() / expected.abs().max())

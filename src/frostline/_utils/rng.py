"""Counter-based random numbers: those of one image do not depend on the other images in the batch."""

import math

import torch

MASK = 0xFFFFFFFF
GOLDEN = 0x9E3779B9  # 2^32 / golden ratio: far apart for neighboring counters
BLOCK = 128


def hash32(bits: torch.Tensor) -> torch.Tensor:
    """Return a 32-bit integer hash (a bijection) of an int64 tensor of values below 2^32.

    Xor-shift and multiply; shifts and constants from C. Wellons' search for low bias, "Prospecting for hash functions".
    """
    bits = (bits ^ (bits >> 16)) * 0x21F0AAAD & MASK
    bits = (bits ^ (bits >> 15)) * 0xD35A2D97 & MASK
    return bits ^ (bits >> 15)


class Stream:
    """One stream of random numbers per image, drawn in parallel.

    Parameters
    ----------
    seed : int
    index : Tensor of int64, shape (n,)
        Image numbers, 0 to 2^32 - 1.
    """

    def __init__(self, seed: int, index: torch.Tensor) -> None:
        start = hash32(torch.tensor([(seed ^ (seed >> 32)) & MASK], device=index.device))
        self._key = hash32((index + start) & MASK)[:, None]
        self._numbers = torch.empty(len(index), 0, device=index.device)
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._key)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Return float32 numbers in [low, high), shape (n, *shape)."""
        count = math.prod(shape)
        if count > self._numbers.shape[1]:
            self._draw(max(count, BLOCK))
        taken, self._numbers = self._numbers[:, :count], self._numbers[:, count:]
        return (taken * (high - low) + low).reshape(-1, *shape)

    def _draw(self, count: int) -> None:
        """Draw numbers ahead: a few large tensors are faster than many small ones."""
        counters = torch.arange(self._drawn, self._drawn + count, device=self._key.device) * GOLDEN & MASK
        self._drawn += count
        bits = hash32(hash32(self._key ^ counters) + self._key & MASK)
        self._numbers = torch.cat([self._numbers, (bits >> 8).float() / 2**24], 1)

    def normal(self, *shape: int) -> torch.Tensor:
        """Return standard normal float32 numbers, shape (n, *shape)."""
        return math.sqrt(2) * torch.erfinv(self.uniform(*shape, low=-0.9999999, high=0.9999999))

    def below(self, limit: int, *shape: int) -> torch.Tensor:
        """Return int64 numbers from 0 to limit - 1, shape (n, *shape)."""
        return (self.uniform(*shape) * limit).long().clamp_(max=limit - 1)

    def chance(self, probability: float, *shape: int) -> torch.Tensor:
        """Return booleans that are true with a probability, shape (n, *shape)."""
        return self.uniform(*shape) < probability

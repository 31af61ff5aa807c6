"""Small stores made through `Store.append`, and ways to damage them."""

from pathlib import Path

import numpy as np

from frostline.data.preprocess import Preprocess
from frostline.features.store import FeatureKey, Store, row_key

ROW = (3, 2)


def make_spec(dtype: str = "float16", network: str = "alexnet") -> FeatureKey:
    """Return a spec that no real pass has."""
    return FeatureKey(network, "conv1", ("conv1",), 4, "0" * 64, Preprocess(64).to_dict(), dtype)


def row_ids(count: int, start: int = 0) -> list[bytes]:
    """Return identities of images that do not exist."""
    return [number.to_bytes(16, "big") for number in range(start, start + count)]


def rows(count: int, start: int = 0, dtype: str = "float16") -> np.ndarray:
    """Return rows that tell their number: row 5 is full of fives."""
    numbers = np.arange(start, start + count, dtype=dtype)
    return np.broadcast_to(numbers[:, None, None], (count, *ROW)).copy()


def make_store(cache: Path, sizes: tuple[int, ...] = (4, 3, 5), spec: FeatureKey | None = None) -> Store:
    """Write one shard of each size; row number n holds the number n."""
    store = Store(cache, spec or make_spec())
    with store.locked() as writable:
        store.load(writable=writable)
        start = len(store.index)
        for size in sizes:
            keys = [row_key(row_id) for row_id in row_ids(size, start)]
            store.append(keys, rows(size, start, store.spec.dtype))
            start += size
    return store


def opened(cache: Path, spec: FeatureKey | None = None) -> Store:
    """Load a store as a run does that may write."""
    store = Store(cache, spec or make_spec())
    with store.locked() as writable:
        store.load(writable=writable)
    return store


def shard(store: Store, number: int) -> Path:
    """Return a shard's file."""
    return store.folder / f"shard-{number:05d}.safetensors"


def flip_bit(path: Path, where: int = -1) -> None:
    """Flip the lowest bit of one byte."""
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Lose the last byte."""
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    """Lose every byte."""
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    """Keep the size, lose the content."""
    path.write_bytes(bytes(path.stat().st_size))


def remove(path: Path) -> None:
    """Lose the file."""
    path.unlink()


DAMAGES = [flip_bit, cut, empty, overwrite, remove]

"""Rows that another store contains: fewer taps of the same frozen stages are columns of its rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from frostline._utils.files import parse_json, read_bytes
from frostline._utils.hashing import digest_json
from frostline._utils.progress import log
from frostline.data.dataset import ImageDataset
from frostline.errors import StorageError
from frostline.features.dataset import CachedFeatures, Columns
from frostline.features.forward import FastForward
from frostline.features.shard import read_manifest
from frostline.features.store import FeatureKey, Store, row_key
from frostline.models.boundary import run_stages

MAX_SPEC_BYTES = 1 << 20
NO_TAPS = {"taps": [], "tap_grid": 0}
READING_SPEEDUP = 100  # rows that can be read and verified, at least, while one is computed


def find_contained(
    datasets: Sequence[ImageDataset], forward: FastForward, spec: FeatureKey, cache: Path, view: int, missing: int
) -> list[CachedFeatures] | None:
    """Return the features of each data set from a store with more taps, or ``None`` if none has them all.

    The store is read without its lock: nothing is written there but the time of use.

    Parameters
    ----------
    forward : FastForward
        The frozen stages, with the taps that are wanted.
    spec : FeatureKey
        Identifies the store that has exactly these.
    cache : Path
        Frostline's cache folder.
    view : int
        Number of the view.
    missing : int
        How many rows would have to be computed otherwise.
    """
    wanted = {row_key(row_id, view) for dataset in datasets for row_id in dataset.row_ids}
    for wider in _wider_keys(cache, spec):
        store = Store(cache, wider)
        try:
            rows = sum(entry.rows for entry in read_manifest(store.folder))
            columns = _columns(forward, wider.taps) if len(wanted) <= rows <= READING_SPEEDUP * missing else None
            if columns is None:
                continue
            store.load(writable=False)
        except (OSError, StorageError) as error:
            log.debug("%s is not used: %s", store.folder, error)
            continue
        if wanted <= store.index.keys():
            log.debug("reading the features of %s from those of %s", _names(spec), _names(wider))
            store.mark_used()
            return [CachedFeatures(store, dataset.row_ids, view, columns) for dataset in datasets]
    return None


def _wider_keys(cache: Path, spec: FeatureKey) -> Iterator[FeatureKey]:
    """Yield the keys of the stores that differ from one in nothing but further taps, those with the fewest first."""
    plain, found = digest_json(spec.to_dict() | NO_TAPS), list[FeatureKey]()
    for path in sorted((cache / "activations").glob("*/spec.json")):
        try:
            values = parse_json(read_bytes(path, MAX_SPEC_BYTES))
        except (OSError, ValueError):  # not a store, or a damaged one
            continue
        if path.parent.is_symlink() or not isinstance(values, dict) or digest_json(values) != path.parent.name:
            continue
        taps = values.get("taps")
        if isinstance(taps, list) and set(spec.taps) < set(taps) and digest_json(values | NO_TAPS) == plain:
            found.append(FeatureKey(**values | {"taps": tuple(taps)}))
    yield from sorted(found, key=lambda key: len(key.taps))


def _names(spec: FeatureKey) -> str:
    return ", ".join(spec.taps) or spec.freeze


@torch.inference_mode()
def _columns(forward: FastForward, taps: Sequence[str]) -> Columns | None:
    """Return where a row with more taps has the numbers of a row; checked on an image of noise."""
    frozen, side = forward.frozen, forward.preprocess.image_size
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(forward.device)
    wanted = run_stages(noise, frozen.stages, frozen.boundary, frozen.row_stages)
    _, parts = frozen.output_and_parts(noise, taps)
    slices, start = [], 0
    for name, part in parts.items():
        if name in (frozen.row_stages or (frozen.boundary.freeze,)):
            slices.append(slice(start, start + part.shape[1]))
        start += part.shape[1]
    columns = Columns(tuple(slices), tuple(wanted.shape[1:]))
    row = torch.cat([*parts.values()], dim=1)
    found = torch.cat([row[:, piece] for piece in slices], dim=1) if slices else row[:, :0]
    same = found.numel() == wanted.numel() and torch.equal(found.reshape(wanted.shape), wanted)
    return columns if same else None

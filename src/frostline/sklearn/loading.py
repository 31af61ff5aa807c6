"""Loading a network once for many fits: a search makes a new estimator, and so a new network, for every one."""

import copy
from functools import lru_cache
from pathlib import Path

from frostline._utils.progress import Progress
from frostline.models.backbone import Backbone
from frostline.models.registry import load_backbone

Stamp = tuple[int, int] | None


def load_cached(
    name: str, weights: str, *, last: str, seed: int, cache_dir: Path, progress: Progress | None = None
) -> Backbone:
    """Return a copy of what `load_backbone` gave the last time in this process, or load it.

    So ``auto`` is decided once, not anew (and perhaps otherwise) in every fit of a search, and a large file is read and
    checked once. A weight file that was changed is read again.
    """
    return copy.deepcopy(_loaded(name, weights, last, seed, cache_dir, _stamp(Path(weights).expanduser())))


@lru_cache(maxsize=1)
def _loaded(name: str, weights: str, last: str, seed: int, cache_dir: Path, stamp: Stamp) -> Backbone:
    return load_backbone(name, weights, last=last, seed=seed, cache_dir=cache_dir)


def _stamp(path: Path) -> Stamp:
    if not path.is_file():
        return None
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns

"""The data sets that have a name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frostline.errors import UnknownNameError
from frostline.images import drawn, fashion_mnist
from frostline.images.dataset import Splits
from frostline.progress import Progress

Loader = Callable[[Path | None, Path | None, Progress | None], Splits]


@dataclass(frozen=True)
class DataSource:
    """A named data set, how it is loaded, and where it is now (``None`` when it must be downloaded first)."""

    description: str
    load: Loader
    where: Callable[[Path | None], str | None]


def _fashion_mnist_folder(cache: Path | None) -> str | None:
    found = fashion_mnist.find(None, cache)
    return str(found["train images"].parent) if found else None


def _drawn_objects(directory: Path | None, cache: Path | None, progress: Progress | None) -> Splits:
    from frostline.images.drawn.dataset import load  # brings torch, which no other name needs

    return load(progress)


SOURCES: dict[str, DataSource] = {
    fashion_mnist.NAME: DataSource(
        "60,000 + 10,000 grey 28x28 images of ten garments", fashion_mnist.load, _fashion_mnist_folder
    ),
    drawn.NAME: DataSource(
        "3,000 + 1,000 coloured 64x64 pictures of twenty made-up objects",
        _drawn_objects,
        lambda cache: "drawn when it is needed: no file",
    ),
}


def find_source(name: str) -> DataSource:
    """Return the data set of that name.

    Raises
    ------
    UnknownNameError
        With the nearest match.
    """
    if name not in SOURCES:
        raise UnknownNameError("data set", name, SOURCES)
    return SOURCES[name]


def load_dataset(
    name: str,
    directory: Path | str | None = None,
    *,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Load a named data set.

    Parameters
    ----------
    name : str
        A name from ``frostline data list``.
    directory : path, optional
        The folder that holds its files; looked for in the system's folder, then in the cache, then downloaded when
        left out.
    cache_dir : path, optional
        Frostline's cache; ``FROSTLINE_CACHE_DIR`` or the platform's own when left out.

    Returns
    -------
    Splits
        ``train`` and ``test`` as published.

    Raises
    ------
    UnknownNameError, DataError, DownloadError
    """
    source = find_source(name)
    return source.load(
        Path(directory) if directory else None,
        Path(cache_dir) if cache_dir else None,
        progress,
    )

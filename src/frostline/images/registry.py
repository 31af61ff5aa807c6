"""The data sets that have a name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frostline.errors import UnknownNameError
from frostline.images import fashion_mnist
from frostline.images.dataset import Splits
from frostline.progress import Progress

Loader = Callable[[Path | None, Path | None, Progress | None], Splits]


@dataclass(frozen=True)
class DataSource:
    """A named data set and how it is loaded."""

    description: str
    load: Loader
    is_here: Callable[[Path | None], Path | None]


def _fashion_mnist_folder(cache: Path | None) -> Path | None:
    found = fashion_mnist.find(None, cache)
    return found["train images"].parent if found else None


SOURCES: dict[str, DataSource] = {
    fashion_mnist.NAME: DataSource(
        "60,000 + 10,000 grey 28x28 images of ten garments", fashion_mnist.load, _fashion_mnist_folder
    )
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

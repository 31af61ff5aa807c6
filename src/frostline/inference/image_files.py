"""Classification of image files and folders; unreadable files are reported beside the predictions of the others."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline.data.dataset import BadImage
from frostline.data.decoding.decode import MAX_PIXELS, SUFFIXES
from frostline.data.decoding.decoder import Decoded, Decoders
from frostline.data.folder import find_images as search
from frostline.errors import DataError
from frostline.inference.classifier import Classifier


@dataclass(frozen=True)
class ImageFiles:
    """Result of `find_images`.

    Attributes
    ----------
    files : tuple of Path
        In the order of the paths; those of a folder in the order of their names.
    bad : tuple of BadImage
        Paths that do not exist, and folders and links that cannot be read.
    """

    files: tuple[Path, ...]
    bad: tuple[BadImage, ...]


@dataclass(frozen=True, eq=False)
class FileAnswer:
    """Prediction for a file: probabilities (classes,), or None and the reason why it cannot be read."""

    file: Path
    probabilities: NDArray[np.float32] | None
    reason: str = ""


def find_images(paths: Sequence[Path]) -> ImageFiles:
    """Find image files; folders are searched as in training (`frostline.data.folder`).

    Names that begin with a dot are skipped in folders. A path of a file is accepted whatever its name is.

    Raises DataError when nothing is found.
    """
    files: list[Path] = []
    bad: list[BadImage] = []
    for path in paths:
        try:
            is_folder = path.is_dir()
            exists = is_folder or os.path.lexists(path)
        except (OSError, ValueError) as error:
            bad.append(BadImage(path, f"cannot be opened: {getattr(error, 'strerror', error)}"))
            continue
        if is_folder:
            found, unreadable = search(path)
            files += found
            bad += unreadable
        elif exists:
            files.append(path)
        else:
            bad.append(BadImage(path, "does not exist"))
    if files:
        return ImageFiles(tuple(files), tuple(bad))
    if bad:
        raise DataError(f"no images found: {bad[0].shown_path} {bad[0].reason}: check the path.")
    raise DataError(f"no images in {', '.join(map(str, paths))}: expected {', '.join(sorted(SUFFIXES))}.")


def classify_files(
    classifier: Classifier,
    files: Sequence[Path],
    *,
    tta: int = 1,
    max_pixels: int = MAX_PIXELS,
    workers: int | None = None,
) -> Iterator[list[FileAnswer]]:
    """Yield predictions batch by batch, in the order of the files.

    Images of more than ``max_pixels`` are refused; ``workers`` processes decode, by default as many as there are cores.
    """
    size = classifier.batch_size
    preprocess = classifier.model.preprocess
    with Decoders(workers, preprocess.target, max_pixels=max_pixels, levels=preprocess.levels) as decoders:
        for start in range(0, len(files), size):
            batch = files[start : start + size]
            yield _predict(classifier, batch, decoders.decode(batch), tta)


def _predict(classifier: Classifier, files: Sequence[Path], decoded: Sequence[Decoded], tta: int) -> list[FileAnswer]:
    readable = [pixels for pixels in decoded if not isinstance(pixels, DataError)]
    rows = iter(classifier.predict_proba(readable, tta))
    return [
        FileAnswer(file, None, reason_of(result, file))
        if isinstance(result, DataError)
        else FileAnswer(file, next(rows))
        for file, result in zip(files, decoded, strict=True)
    ]


def reason_of(error: DataError, file: Path) -> str:
    """Return the message of an error on one line, without the file name in front and the period at the end."""
    return " ".join(str(error).removeprefix(str(file)).strip().removesuffix(".").split())

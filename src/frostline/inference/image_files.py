"""Classifying image files: folders are searched, and a file that cannot be read costs the others nothing."""

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
    """What was found.

    Attributes
    ----------
    files : tuple of Path
        To be classified, in the order of the paths that were given; those of a folder in the order of their names.
    bad : tuple of BadImage
        Paths that do not exist, and folders and links that cannot be read.
    """

    files: tuple[Path, ...]
    bad: tuple[BadImage, ...]


@dataclass(frozen=True, eq=False)
class FileAnswer:
    """What a model says of one file: probabilities (classes,), or why there are none."""

    file: Path
    probabilities: NDArray[np.float32] | None
    reason: str = ""


def find_images(paths: Sequence[Path]) -> ImageFiles:
    """Find the image files that paths name; folders are searched as in training (`frostline.data.folder`).

    Names that begin with a dot are passed over in folders. A file that is named itself is taken
    whatever its name is.

    Raises
    ------
    DataError
        When nothing is found.
    """
    files: list[Path] = []
    bad: list[BadImage] = []
    for path in paths:
        try:
            is_folder = path.is_dir()
            there = is_folder or os.path.lexists(path)
        except (OSError, ValueError) as error:
            bad.append(BadImage(path, f"cannot be opened: {getattr(error, 'strerror', error)}"))
            continue
        if is_folder:
            found, unreadable = search(path)
            files += found
            bad += unreadable
        elif there:
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
    """Yield answers batch by batch, in the order of the files.

    Parameters
    ----------
    classifier : Classifier
    files : sequence of Path
    tta : int
        See `Classifier.predict_proba`.
    max_pixels : int
        What an image may claim to have.
    workers : int, optional
        Processes that decode; all cores when left out.
    """
    size = classifier.batch_size
    preprocess = classifier.model.preprocess
    with Decoders(workers, preprocess.image_size, max_pixels=max_pixels, levels=preprocess.levels) as decoders:
        for start in range(0, len(files), size):
            some = files[start : start + size]
            yield _answers(classifier, some, decoders.decode(some), tta)


def _answers(classifier: Classifier, files: Sequence[Path], decoded: Sequence[Decoded], tta: int) -> list[FileAnswer]:
    pixels = [one for one in decoded if not isinstance(one, DataError)]
    rows = iter(classifier.predict_proba(pixels, tta))
    return [
        FileAnswer(file, None, reason_of(one, file)) if isinstance(one, DataError) else FileAnswer(file, next(rows))
        for file, one in zip(files, decoded, strict=True)
    ]


def reason_of(error: DataError, file: Path) -> str:
    """Return an error's message without the file's name at its beginning and the full stop at its end."""
    return " ".join(str(error).removeprefix(str(file)).strip().removesuffix(".").split())

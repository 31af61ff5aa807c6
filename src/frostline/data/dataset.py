"""A labeled set of images: pixels in memory, or files that are decoded on demand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline._utils.hashing import digest_json, row_id_of_bytes, row_ids_of_pixels
from frostline._utils.text import few, html_table, printable
from frostline.data.decoding.decode import MAX_PIXELS, budget_of, decode_image
from frostline.data.decoding.decoded import DecodedImages
from frostline.data.decoding.pool import Workers
from frostline.data.decoding.target import Target
from frostline.data.levels import Levels
from frostline.errors import DataError

Pixels = NDArray[np.uint8]  # (H, W) gray or (H, W, 3) RGB
CHUNK = 4  # files per task of a decoding process
RowIds = Callable[[Sequence[Path]], list[bytes]]


def check_pixels(images: NDArray[np.uint8]) -> Pixels:
    """Return the images; raise ``DataError`` unless they are uint8 of shape (N, H, W) or (N, H, W, 3)."""
    gray, color = images.ndim == 3, images.ndim == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (gray or color):
        raise DataError(
            "images: expected a uint8 array of shape (N, H, W) or (N, H, W, 3), "
            f"got {images.dtype} {images.shape}: convert it first."
        )
    return images


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images, labels and class names.

    Parameters
    ----------
    images : ndarray of uint8, or sequence of Path
        (N, H, W) gray or (N, H, W, 3) RGB pixels, or N image files that are decoded lazily.
    labels : ndarray of int64, shape (N,)
        Class numbers, 0 to ``len(class_names) - 1``.
    class_names : tuple of str
        One name per class.
    identify : callable, optional
        Returns the row ids of image files. Default: hashes of the files' bytes.
    groups : ndarray of int64, shape (N,), optional
        Images with the same number are similar, or belong together: they are kept in the same split.
    longest_side : int, optional
        Longest side of the image files in pixels, where it is known.
    levels : Levels, optional
        Value scale of files with more than 8 bits, and background of transparent ones.
    max_pixels : int
        Larger image files are refused.
    decoded : DecodedImages, optional
        Images that need not be decoded again.

    Raises
    ------
    DataError
        When counts, shapes, types or labels do not fit together.
    """

    images: Pixels | tuple[Path, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    identify: RowIds | None = None
    groups: NDArray[np.int64] | None = None
    longest_side: int | None = None
    levels: Levels | None = None
    max_pixels: int = MAX_PIXELS
    decoded: DecodedImages | None = None

    def __post_init__(self) -> None:
        images = self.images
        if isinstance(images, np.ndarray):
            check_pixels(images)
        else:
            object.__setattr__(self, "images", tuple(Path(path) for path in images))
        labels = np.asarray(self.labels)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"labels: expected whole numbers of shape (N,), got {labels.dtype} {labels.shape}.")
        if len(labels) != len(images):
            raise DataError(f"{len(images)} images but {len(labels)} labels: each image needs one label.")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            raise DataError(
                f"labels run from {labels.min()} to {labels.max()}, but there are {len(self.class_names)} class names."
            )
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def row_ids(self) -> list[bytes]:
        """A 16-byte digest of each image: of its pixels, or of its file's bytes."""
        if isinstance(self.images, np.ndarray):
            return row_ids_of_pixels(self.images)
        if self.identify is not None:
            return self.identify(self.images)
        return [_row_id(path) for path in self.images]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of content, order, labels and class names: 32 hex digits."""
        return digest_json(
            {
                "rows": [row.hex() for row in self.row_ids],
                "labels": self.labels.tolist(),
                "class_names": list(self.class_names),
            }
        )

    @property
    def side(self) -> int | None:
        """The longest side of the images in pixels; ``None`` when it is not known."""
        return max(self.images.shape[1:3]) if isinstance(self.images, np.ndarray) else self.longest_side

    @property
    def is_square(self) -> bool:
        """Whether all images are known to be square, so that cropping or padding them is the same."""
        return isinstance(self.images, np.ndarray) and self.images.shape[1] == self.images.shape[2]

    def subset(self, indices: NDArray[np.integer]) -> "ImageDataset":
        """Return the images at ``indices``, in that order; row ids that are known are kept."""
        images = self.images[indices] if isinstance(self.images, np.ndarray) else tuple(self.images[i] for i in indices)
        groups = None if self.groups is None else self.groups[indices]
        part = replace(self, images=images, labels=self.labels[indices], groups=groups)
        if "row_ids" in self.__dict__:
            part.__dict__["row_ids"] = [self.row_ids[i] for i in indices]
        return part

    def pixels(self, indices: NDArray[np.integer], target: Target | None = None) -> Pixels | list[Pixels]:
        """Return the pixels at ``indices``: one array when they are in memory, else one array per file.

        Parameters
        ----------
        indices : ndarray of int, shape (B,)
        target : Target, optional
            The network's input: files are reduced and framed accordingly (`decode_image`).

        Raises
        ------
        DataError
            When a file is not a readable image.
        """
        return self.decoding(indices, target, levels=self.levels)()

    def decoding(
        self,
        indices: NDArray[np.integer],
        target: Target | None,
        workers: Workers | None = None,
        *,
        levels: Levels | None = None,
    ) -> Callable[[], Pixels | list[Pixels]]:
        """Start decoding the images at ``indices``, and return a function that waits for the result of `pixels`.

        A file whose row id is known must still have that content, so that no features are stored under the wrong id.

        Parameters
        ----------
        workers : Workers, optional
            Decoding processes.
        levels : Levels, optional
            Used instead of the data set's own: those that a model was trained with.
        """
        if isinstance(self.images, np.ndarray):
            images = self.images
            return lambda: images[indices]
        paths = [self.images[i] for i in indices]
        are_known = self.decoded is not None or "row_ids" in self.__dict__
        row_ids = [self.row_ids[i] if are_known else None for i in indices]
        work = partial(_decode_file, target=target, levels=levels, max_pixels=self.max_pixels)
        budget = budget_of(self.max_pixels)
        known = [self._known_pixels(row_id, target) for row_id in row_ids]
        files = [file for file, pixels in zip(zip(paths, row_ids, strict=True), known, strict=True) if pixels is None]
        decoded = (workers or Workers()).map(work, files, CHUNK, budget=budget, lost=_refuse_file)
        return lambda: [next(decoded) if pixels is None else pixels for pixels in known]

    def _known_pixels(self, row_id: bytes | None, target: Target | None) -> Pixels | None:
        """Return the pixels that the scan has decoded; they are opaque, 8 bits deep and need no `Levels`."""
        if self.decoded is None or row_id is None or target is None:
            return None
        return self.decoded.get(row_id, target)


def _decode_file(
    file: tuple[Path, bytes | None], target: Target | None, levels: Levels | None, max_pixels: int
) -> Pixels:
    path, row_id = file
    return decode_image(path, target, max_pixels=max_pixels, levels=levels, row_id=row_id)


def _refuse_file(file: tuple[Path, bytes | None], reason: str) -> Pixels:
    raise DataError(f"{file[0]} {reason}.")


def _row_id(path: Path) -> bytes:
    try:
        return row_id_of_bytes(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class BadImage:
    """An image file that is left out, and the reason."""

    path: Path
    reason: str

    @property
    def shown_path(self) -> str:
        """The path as one printable line: a file's name may be invalid UTF-8, or contain a line break."""
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(self.path))


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set: its training, validation and test splits. The test split is read once, at the end.

    Attributes
    ----------
    name : str
    train, test : ImageDataset
    source : str
        Its origin.
    val : ImageDataset or None
        The validation split; a run draws one from ``train`` when it is ``None``.
    bad : tuple of BadImage
        Images that could not be read.
    blank : tuple of Path
        Image files of a single color.
    """

    name: str
    train: ImageDataset
    test: ImageDataset
    source: str
    val: ImageDataset | None = None
    bad: tuple[BadImage, ...] = ()
    blank: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        return printable(f"Splits({self.name}, {', '.join(self._facts.values())})")

    def _repr_html_(self) -> str:
        return html_table(f"Splits {self.name}", self._facts | {"source": self.source})

    def __str__(self) -> str:
        names = self.train.class_names
        facts = {
            "data set": f"{self.name} from {self.source}",
            "classes": f"{len(names)}: {few(names)}",
            "train": f"{len(self.train):,} images",
            "val": "drawn from train by each run" if self.val is None else f"{len(self.val):,} images",
            "test": f"{len(self.test):,} images",
        }
        return "\n".join(f"{name:9} {printable(fact)}" for name, fact in facts.items())

    @property
    def parts(self) -> dict[str, ImageDataset]:
        """The splits that the data set has, by name."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def _facts(self) -> dict[str, str]:
        counts = {name: f"{len(part):,} {name} images" for name, part in self.parts.items()}
        names = self.train.class_names
        return counts | {"classes": f"{len(names)} classes: {few(names)}"}

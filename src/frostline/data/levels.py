"""One scale for a data set whose files hold more than bytes: 16-bit, 32-bit and real numbers, and transparency.

A file's own brightest pixel says little of its scale: one pixel of 1.02 in numbers from 0 to 1 must not turn the image
black, and 12-bit images in 16-bit files must not either. So the whole data set decides, once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BITS = (8, 10, 12, 14, 16, 24, 31)
TOPS = (1.0, 255.0, 65535.0)  # usual scales of real numbers
SLACK = 1.5  # how far above a usual scale real numbers may reach and still be of that scale
FEWEST_GRAYS = 15  # an image whose largest value is at most that is nearly black: a map of class numbers, perhaps

Range = tuple[float, float]


class Tones(NamedTuple):
    """What values one file holds.

    Attributes
    ----------
    kind : str
        ``byte``, ``whole`` (16 or 32 bits) or ``real``.
    low, high : float
        The smallest and largest of them; of colors, after reading.
    transparent : bool
        Some pixels may be seen through.
    flat : bool
        It is one single color after reading.
    """

    kind: str = "byte"
    low: float = 0.0
    high: float = 0.0
    transparent: bool = False
    flat: bool = False


@dataclass(frozen=True)
class Levels:
    """How a data set's values become bytes.

    Parameters
    ----------
    whole : (float, float), optional
        What becomes 0 and 255 in files of 16-bit and 32-bit whole numbers; when left out 0 and 65,535, of 32 bits 255
        where no pixel is larger.
    real : (float, float), optional
        The same for real numbers; chosen for each file by itself when left out.
    contrast : bool
        Lay transparent images that white hides on black. All others, and all when ``False``, are laid on white.
    """

    whole: Range | None = None
    real: Range | None = None
    contrast: bool = False

    def of(self, mode: str, low: float, high: float) -> Range:
        """Return the scale of a file whose values run from ``low`` to ``high``; ``mode`` is Pillow's name for them."""
        if mode == "F":
            return self.real or (0.0, next((top for top in TOPS if high <= SLACK * top), TOPS[-1]))
        if self.whole is None and mode == "I":
            return 0.0, 255.0 if high <= 255 else 65535.0
        return self.whole or (0.0, 65535.0)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; what is not set is left out."""
        values: dict[str, Any] = {}
        if self.whole is not None:
            values["whole"] = list(self.whole)
        if self.real is not None:
            values["real"] = list(self.real)
        if self.contrast:
            values["transparency"] = "white, black where white hides the image"
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Levels":
        """Rebuild it from `to_dict`.

        Raises
        ------
        ValueError
            When a range is not two finite numbers, the smaller one first.
        """
        return cls(_range(values, "whole"), _range(values, "real"), "transparency" in values)


def _range(values: dict[str, Any], name: str) -> Range | None:
    if name not in values:
        return None
    low, high = (float(value) for value in values[name])
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"levels: {name} runs from {low} to {high}")
    return low, high


def choose_levels(tones: Iterable[Tones]) -> Levels | None:
    """Return the scale for a data set from the tones of its files; nothing when all hold opaque bytes."""
    files = list(tones)
    whole = [file for file in files if file.kind == "whole"]
    real = [file for file in files if file.kind == "real"]
    contrast = any(file.transparent for file in files)
    if not (whole or real or contrast):
        return None
    return Levels(whole_range(whole) if whole else None, real_range(real) if real else None, contrast)


def whole_range(files: Sequence[Tones]) -> Range:
    """Return the range of the fewest bits, of those in use, that hold all values; their own where some are negative."""
    low, high = min(file.low for file in files), max(file.high for file in files)
    if low < 0:
        return low, max(high, 0.0)
    return 0.0, 2.0 ** next((bits for bits in BITS if high < 2**bits), 32) - 1


def real_range(files: Sequence[Tones]) -> Range:
    """Return the usual scale that most files keep to: from 0, or its negative, to 1, 255 or 65,535; or their own."""
    high = median(file.high for file in files)
    low = median(file.low for file in files)
    size = max(high, -low)
    top = next((top for top in TOPS if (top == 1 or top / 4 < size) and size <= SLACK * top), None)
    if top is None:
        return min(low, 0.0), max(high, low + 1.0)
    return (-top if low < -top / 10 else 0.0), top


def scales(tones: Sequence[Tones], levels: Levels | None) -> list[str]:
    """Return a line for each kind of file that has a scale: what it is, and how many files go beyond."""
    if levels is None:
        return []
    lines = [
        _scale("16-bit or 32-bit", levels.whole, [file for file in tones if file.kind == "whole"]),
        _scale("real", levels.real, [file for file in tones if file.kind == "real"]),
    ]
    return [line for line in lines if line]


def remarks(tones: Sequence[Tones], splits: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Return what a person should be warned of in the values of files, each with its split, a line each."""
    flat = [path for path, file in zip(paths, tones, strict=True) if file.flat]
    lines = []
    if flat:
        lines.append(f"{len(flat):,} of {len(tones):,} images are of one single color, such as {flat[0]}")
    for split in dict.fromkeys(splits):
        files = [file for file, where in zip(tones, splits, strict=True) if where == split]
        brightest = max((file.high for file in files), default=255)
        if 0 < brightest <= FEWEST_GRAYS and all(file.kind == "byte" for file in files):
            lines.append(
                f"no pixel of the {split} images is brighter than {brightest:g} of 255, so they are nearly black: "
                "are they label masks? Multiply their values"
            )
    return lines


def _scale(numbers: str, scale: Range | None, files: Sequence[Tones]) -> str | None:
    if scale is None:
        return None
    low, high = scale
    beyond = sum(file.low < low or file.high > high for file in files)
    clipped = f"; {beyond:,} of them have values beyond, which are cut off" if beyond else ""
    return (
        f"{len(files):,} images hold {numbers} numbers, read with {low:,.6g} as black and {high:,.6g} as white{clipped}"
    )


def to_bytes(values: NDArray[Any], scale: Range) -> NDArray[np.uint8]:
    """Return whole or real numbers as bytes; what lies beyond the scale is cut off."""
    low, high = scale
    if values.dtype.kind == "u" and low == 0 and np.log2(high + 1) in BITS[:5]:
        shift = int(np.log2(high + 1)) - 8
        narrow: NDArray[np.uint8] = np.minimum(values.astype(np.uint16) >> shift, 255).astype(np.uint8)
        return narrow
    wide: NDArray[np.float64] = values.astype(np.float64)
    wide -= low
    wide *= 255.0 / (high - low)
    np.clip(wide, 0, 255, out=wide)
    return wide.astype(np.uint8)

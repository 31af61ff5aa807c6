"""Value scales for data sets with 16-bit, 32-bit, floating-point or transparent images.

The brightest pixel of one file does not determine its scale: a pixel of 1.02 in an image of values from 0 to 1 must not
turn that image black, nor may 12-bit images in 16-bit files become black. So one scale is chosen for the data set.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BITS = (8, 10, 12, 14, 16, 24, 31)
TOPS = (1.0, 255.0, 65535.0)  # usual scales of floating-point values
SLACK = 1.5  # values up to this factor above a usual scale still count as that scale
FEWEST_GRAYS = 15  # images without a larger value are nearly black: label masks, perhaps

Range = tuple[float, float]


class Tones(NamedTuple):
    """Type and range of the values in one file.

    Attributes
    ----------
    kind : str
        ``byte``, ``whole`` (16-bit or 32-bit integers) or ``real``.
    low, high : float
        Smallest and largest value; of ``byte`` images, after conversion to gray or RGB.
    transparent : bool
        Whether it has transparency.
    flat : bool
        Whether it is a single color after conversion.
    """

    kind: str = "byte"
    low: float = 0.0
    high: float = 0.0
    transparent: bool = False
    flat: bool = False


@dataclass(frozen=True)
class Levels:
    """The mapping of a data set's values to bytes.

    Parameters
    ----------
    whole : (float, float), optional
        The values that become 0 and 255 in 16-bit and 32-bit integer files. Default: 0 and 65,535, or 0 and 255 in
        32-bit files without larger values.
    real : (float, float), optional
        The same for floating-point files. Default: chosen for each file.
    contrast : bool
        Use a black background for transparent images that are invisible on white. Otherwise the background is white.
    """

    whole: Range | None = None
    real: Range | None = None
    contrast: bool = False

    def scale_of(self, mode: str, low: float, high: float) -> Range:
        """Return the scale for a file of Pillow mode ``mode`` with values from ``low`` to ``high``."""
        if mode == "F":
            return self.real or (0.0, next((top for top in TOPS if high <= SLACK * top), TOPS[-1]))
        if self.whole is None and mode == "I":
            return 0.0, 255.0 if high <= 255 else 65535.0
        return self.whole or (0.0, 65535.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, as JSON values."""
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
        """Restore from `to_dict`; an entry that is ``None`` is absent.

        Raises ``ValueError`` unless ranges are two finite numbers in ascending order.
        """
        return cls(_range(values, "whole"), _range(values, "real"), values.get("transparency") is not None)


def _range(values: dict[str, Any], name: str) -> Range | None:
    if values.get(name) is None:
        return None
    low, high = (float(value) for value in values[name])
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"levels: {name} runs from {low} to {high}")
    return low, high


def choose_levels(tones: Iterable[Tones]) -> Levels | None:
    """Return the scale for a data set from the tones of its files; ``None`` when all are opaque and 8-bit."""
    files = list(tones)
    whole = [file for file in files if file.kind == "whole"]
    real = [file for file in files if file.kind == "real"]
    contrast = any(file.transparent for file in files)
    if not (whole or real or contrast):
        return None
    return Levels(whole_range(whole) if whole else None, real_range(real) if real else None, contrast)


def whole_range(files: Sequence[Tones]) -> Range:
    """Return the range of the smallest usual bit depth that holds all values; the actual range if any is negative."""
    low, high = min(file.low for file in files), max(file.high for file in files)
    if low < 0:
        return low, max(high, 0.0)
    return 0.0, 2.0 ** next((bits for bits in BITS if high < 2**bits), 32) - 1


def real_range(files: Sequence[Tones]) -> Range:
    """Return the usual scale of most files, [0, t] or [-t, t] with t of 1, 255 or 65,535; else their median range."""
    high = median(file.high for file in files)
    low = median(file.low for file in files)
    size = max(high, -low)
    top = next((top for top in TOPS if (top == 1 or top / 4 < size) and size <= SLACK * top), None)
    if top is None:
        return min(low, 0.0), max(high, low + 1.0)
    return (-top if low < -top / 10 else 0.0), top


def describe_scales(tones: Sequence[Tones], levels: Levels | None) -> list[str]:
    """Return a line for each type of file that is scaled: the scale, and how many files exceed it."""
    if levels is None:
        return []
    lines = [
        _describe_scale("16-bit or 32-bit integers", levels.whole, [file for file in tones if file.kind == "whole"]),
        _describe_scale("floating-point values", levels.real, [file for file in tones if file.kind == "real"]),
    ]
    return [line for line in lines if line]


def describe_oddities(tones: Sequence[Tones], splits: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Return a warning for each suspicious property of the files' values: single colors, nearly black splits."""
    flat = [path for path, file in zip(paths, tones, strict=True) if file.flat]
    lines = []
    if flat:
        lines.append(f"{len(flat):,} of {len(tones):,} images have a single color, such as {flat[0]}")
    for split in dict.fromkeys(splits):
        files = [file for file, its_split in zip(tones, splits, strict=True) if its_split == split]
        brightest = max((file.high for file in files), default=255)
        if 0 < brightest <= FEWEST_GRAYS and all(file.kind == "byte" for file in files):
            lines.append(
                f"no pixel of the {split} images is brighter than {brightest:g} of 255, so they are nearly black: "
                "are they label masks? Multiply their values"
            )
    return lines


def _describe_scale(values: str, scale: Range | None, files: Sequence[Tones]) -> str | None:
    if scale is None:
        return None
    low, high = scale
    beyond = sum(file.low < low or file.high > high for file in files)
    clipped = f"; values outside this range are clipped in {beyond:,} of them" if beyond else ""
    return f"{len(files):,} images have {values}, read with {low:,.6g} as black and {high:,.6g} as white{clipped}"


def to_bytes(values: NDArray[Any], scale: Range) -> NDArray[np.uint8]:
    """Scale integers or floating-point values to bytes; values outside the scale are clipped."""
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

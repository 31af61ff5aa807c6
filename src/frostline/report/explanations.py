"""What `frostline explain` leaves: for each image a folder of PNG files, and one contact sheet of them all.

DIR/sheet.png                          the first images, side by side with what they are like
DIR/IMAGE/image.png                the square that the network sees
DIR/IMAGE/1-CLASS-map.png            where it speaks for the most probable class, 2-… for the next
DIR/IMAGE/1-CLASS-overlay.png        the same over the image
DIR/IMAGE/neighbor-1.png            the nearest training image (.jpg when it has more than 32 pixels a side)
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline._utils.manifest import check_ours
from frostline._utils.progress import Progress, Silent, log
from frostline._utils.storage import write_bytes
from frostline.data.dataset import BadImage
from frostline.data.decoding.decode import decode_image
from frostline.data.decoding.decoder import Decoders
from frostline.errors import DataError
from frostline.inference.explain import BATCH, METHODS, Explainer, Neighbor, enlarge, scale
from frostline.inference.image_files import reason_of
from frostline.report.contact_sheet import MOST_ROWS, Panel, Row, draw_sheet
from frostline.report.overlay import color, overlay, png, square

SIDE = 320  # pixels of the images that are written
REMEDY = "--output chooses another place"
SHEET = "sheet.png"


@dataclass(frozen=True)
class ClassExplanation:
    """What was written of one class of one image; ``blank`` when the map has nothing that speaks for it."""

    class_name: str
    probability: float
    map: Path
    overlay: Path
    blank: bool


@dataclass(frozen=True)
class ExplainedImage:
    """What was written of one image; ``neighbors`` and where each one's image lies, or none without an index."""

    file: Path
    image: Path
    classes: Sequence[ClassExplanation]
    neighbors: Sequence[tuple[Neighbor, Path]] | None


def write_explanations(
    explainer: Explainer,
    files: Sequence[Path],
    folder: Path,
    *,
    title: str,
    stage: str | None = None,
    method: str = "gradcam",
    top: int = 3,
    neighbors: int = 5,
    progress: Progress | None = None,
) -> tuple[list[ExplainedImage], list[BadImage], Path | None]:
    """Explain image files, and write what can be looked at.

    Parameters
    ----------
    explainer : Explainer
    files : sequence of Path
    folder : Path
        New, empty, or of earlier explanations, whose files of the same names are replaced.
    title : str
        Of the sheet.
    stage : str, optional
        Where to look; the last that has a map when left out.
    method : str
        ``gradcam`` or ``hirescam``.
    top : int
        For how many classes, the most probable first.
    neighbors : int
        How many training images to name.
    progress : Progress, optional

    Returns
    -------
    explained : list of Explained
    bad : list of BadImage
        What could not be read; the others are explained without it.
    sheet : Path or None
        ``None`` when nothing could be read: nothing is written then.

    Raises
    ------
    ConfigError, StorageError
    RunError
        When the folder holds something else.
    """
    check_ours(folder, "explanation", [SHEET], other="choose another --output", earlier=_is_ours)
    stage = explainer.stage(stage)
    names = _folder_names(files)
    explained, bad, rows = list[ExplainedImage](), list[BadImage](), list[Row]()
    ask = _Request(stage, method, top, neighbors)
    size, levels = explainer.model.preprocess.image_size, explainer.model.preprocess.levels
    with (
        Decoders(side=size, levels=levels) as seen_by_network,
        Decoders(side=SIDE, levels=levels) as seen_by_people,
        (progress or Silent()).bar("explaining", len(files), "images") as bar,
    ):
        for start in range(0, len(files), BATCH):
            some = files[start : start + BATCH]
            good = list[_InputImage]()
            decoded = zip(some, names[start : start + BATCH], seen_by_network.decode(some), strict=True)
            shown = seen_by_people.decode(some)
            for (file, name, pixels), thumbnail in zip(decoded, shown, strict=True):
                fault = next((one for one in (pixels, thumbnail) if isinstance(one, DataError)), None)
                if isinstance(pixels, np.ndarray) and isinstance(thumbnail, np.ndarray):
                    good.append(_InputImage(file, folder / name, pixels, square(thumbnail, SIDE)))
                elif fault is not None:
                    bad.append(BadImage(file, reason_of(fault, file)))
            for done, row in _batch(explainer, good, ask):
                explained.append(done)
                rows += [row] if len(rows) < MOST_ROWS else []
            bar.advance(len(some))
    if not rows:
        return explained, bad, None
    if len(explained) > MOST_ROWS:
        log.info("the sheet shows the first %d of %d images", MOST_ROWS, len(explained))
    sheet = folder / SHEET
    side = explainer.grids[stage]
    write_bytes(sheet, draw_sheet(rows, title, f"{METHODS[method]} at {stage}, {side} × {side} places"), REMEDY)
    return explained, bad, sheet


@dataclass(frozen=True)
class _Request:
    """What is asked of each image."""

    stage: str
    method: str
    top: int
    neighbors: int


@dataclass(frozen=True, eq=False)
class _InputImage:
    """An image as the network and as people see it, and the folder for what is written of it."""

    file: Path
    place: Path
    pixels: NDArray[np.uint8]
    image: NDArray[np.uint8]


def _batch(explainer: Explainer, images: Sequence[_InputImage], ask: _Request) -> Iterator[tuple[ExplainedImage, Row]]:
    seen = [image.pixels for image in images]
    probabilities = explainer.predict_proba(seen)  # (B, classes)
    order = probabilities.argsort(axis=1)[:, ::-1][:, : ask.top]  # (B, K)
    maps = [scale(explainer.signed_maps(seen, column.tolist(), ask.stage, ask.method)) for column in order.T]
    near = explainer.neighbors(seen, ask.neighbors) if explainer.knows_neighbors else None
    for i, seen_image in enumerate(images):
        path = _write(seen_image.place / "image.png", seen_image.image)
        spoken, panels = list[ClassExplanation](), list[Panel]()
        for rank, (label, heat) in enumerate(zip(order[i], maps, strict=True), 1):
            name, probability = explainer.class_names[label], float(probabilities[i, label])
            grown = enlarge(heat[i : i + 1], SIDE)[0]
            over, blank = overlay(seen_image.image, grown), not heat[i].any()
            stem = seen_image.place / f"{rank}-{_plain(name)}"
            map_file = _write(stem.with_name(f"{stem.name}-map.png"), color(grown))
            over_file = _write(stem.with_name(f"{stem.name}-overlay.png"), over)
            spoken.append(ClassExplanation(name, probability, map_file, over_file, blank))
            panels.append(Panel(over, name, f"{probability:.3f}", f"{METHODS[ask.method]} finds no place" * blank))
        alike = None if near is None else near[i]
        kept = (
            None
            if alike is None
            else [(one, _write_thumbnail(seen_image.place, n, one)) for n, one in enumerate(alike, 1)]
        )
        like = [
            Panel(square(decode_image(one.thumbnail), SIDE), one.class_name, f"{one.similarity:.2f}")
            for one in alike or []
        ]
        yield (
            ExplainedImage(seen_image.file, path, spoken, kept),
            Row(Panel(seen_image.image, seen_image.file.name), panels, like),
        )


def _write(path: Path, pixels: NDArray[np.uint8]) -> Path:
    write_bytes(path, png(pixels), REMEDY)
    return path


def _write_thumbnail(place: Path, number: int, neighbor: Neighbor) -> Path:
    path = place / f"neighbor-{number}{neighbor.suffix}"
    write_bytes(path, neighbor.thumbnail, REMEDY)
    return path


def _is_ours(folder: Path) -> bool:
    """Whether earlier explanations lie here."""
    return (folder / SHEET).is_file() and any(folder.glob("*/image.png"))


def _folder_names(files: Sequence[Path]) -> list[str]:
    """Return a plain folder name for each file; names that come again are numbered."""
    taken, names = set[str](), list[str]()
    for file in files:
        stem = name = _plain(file.stem)
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _plain(text: str) -> str:
    """Return text as a part of a file's name: letters, digits, ``_`` and ``-``, at most 60."""
    return re.sub(r"[^\w-]+", "-", text).strip("-")[:60] or "image"

"""What `frostline explain` leaves: for each picture a folder of PNG files, and one contact sheet of them all.

DIR/sheet.png                          the first pictures, side by side with what they are like
DIR/PICTURE/picture.png                the square that the network sees
DIR/PICTURE/1-CLASS-map.png            where it speaks for the most probable class, 2-… for the next
DIR/PICTURE/1-CLASS-overlay.png        the same over the picture
DIR/PICTURE/neighbour-1.png            the nearest training picture (.jpg when it has more than 32 pixels a side)
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
from frostline.inference.explain import BATCH, METHODS, Explainer, Neighbour, enlarge, scale
from frostline.inference.image_files import reason_of
from frostline.report.contact_sheet import MOST_ROWS, Panel, Row, draw_sheet
from frostline.report.overlay import colour, overlay, png, square

SIDE = 320  # pixels of the pictures that are written
REMEDY = "--output chooses another place"
SHEET = "sheet.png"


@dataclass(frozen=True)
class Spoken:
    """What was written of one class of one picture; ``blank`` when the map has nothing that speaks for it."""

    class_name: str
    probability: float
    map: Path
    overlay: Path
    blank: bool


@dataclass(frozen=True)
class Explained:
    """What was written of one picture; ``neighbours`` and where each one's picture lies, or none without an index."""

    file: Path
    picture: Path
    classes: Sequence[Spoken]
    neighbours: Sequence[tuple[Neighbour, Path]] | None


def write_explanations(
    explainer: Explainer,
    files: Sequence[Path],
    folder: Path,
    *,
    title: str,
    stage: str | None = None,
    method: str = "gradcam",
    top: int = 3,
    neighbours: int = 5,
    progress: Progress | None = None,
) -> tuple[list[Explained], list[BadImage], Path | None]:
    """Explain picture files, and write what can be looked at.

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
    neighbours : int
        How many training pictures to name.
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
    explained, bad, rows = list[Explained](), list[BadImage](), list[Row]()
    ask = _Question(stage, method, top, neighbours)
    size, levels = explainer.model.preprocess.image_size, explainer.model.preprocess.levels
    with (
        Decoders(side=size, levels=levels) as seen_by_network,
        Decoders(side=SIDE, levels=levels) as seen_by_people,
        (progress or Silent()).bar("explaining", len(files), "images") as bar,
    ):
        for start in range(0, len(files), BATCH):
            some = files[start : start + BATCH]
            good = list[_Seen]()
            decoded = zip(some, names[start : start + BATCH], seen_by_network.decode(some), strict=True)
            shown = seen_by_people.decode(some)
            for (file, name, pixels), picture in zip(decoded, shown, strict=True):
                fault = next((one for one in (pixels, picture) if isinstance(one, DataError)), None)
                if isinstance(pixels, np.ndarray) and isinstance(picture, np.ndarray):
                    good.append(_Seen(file, folder / name, pixels, square(picture, SIDE)))
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
class _Question:
    """What is asked of each image."""

    stage: str
    method: str
    top: int
    neighbours: int


@dataclass(frozen=True, eq=False)
class _Seen:
    """An image as the network and as people see it, and the folder for what is written of it."""

    file: Path
    place: Path
    pixels: NDArray[np.uint8]
    picture: NDArray[np.uint8]


def _batch(explainer: Explainer, images: Sequence[_Seen], ask: _Question) -> Iterator[tuple[Explained, Row]]:
    seen = [image.pixels for image in images]
    probabilities = explainer.predict_proba(seen)  # (B, classes)
    order = probabilities.argsort(axis=1)[:, ::-1][:, : ask.top]  # (B, K)
    maps = [scale(explainer.signed_maps(seen, column.tolist(), ask.stage, ask.method)) for column in order.T]
    near = explainer.neighbours(seen, ask.neighbours) if explainer.knows_neighbours else None
    for i, image in enumerate(images):
        picture = _write(image.place / "picture.png", image.picture)
        spoken, panels = list[Spoken](), list[Panel]()
        for rank, (label, heat) in enumerate(zip(order[i], maps, strict=True), 1):
            name, probability = explainer.class_names[label], float(probabilities[i, label])
            grown = enlarge(heat[i : i + 1], SIDE)[0]
            over, blank = overlay(image.picture, grown), not heat[i].any()
            stem = image.place / f"{rank}-{_plain(name)}"
            map_file = _write(stem.with_name(f"{stem.name}-map.png"), colour(grown))
            over_file = _write(stem.with_name(f"{stem.name}-overlay.png"), over)
            spoken.append(Spoken(name, probability, map_file, over_file, blank))
            panels.append(Panel(over, name, f"{probability:.3f}", f"{METHODS[ask.method]} finds no place" * blank))
        alike = None if near is None else near[i]
        kept = (
            None if alike is None else [(one, _write_thumbnail(image.place, n, one)) for n, one in enumerate(alike, 1)]
        )
        like = [
            Panel(square(decode_image(one.thumbnail), SIDE), one.class_name, f"{one.similarity:.2f}")
            for one in alike or []
        ]
        yield Explained(image.file, picture, spoken, kept), Row(Panel(image.picture, image.file.name), panels, like)


def _write(path: Path, pixels: NDArray[np.uint8]) -> Path:
    write_bytes(path, png(pixels), REMEDY)
    return path


def _write_thumbnail(place: Path, number: int, neighbour: Neighbour) -> Path:
    path = place / f"neighbour-{number}{neighbour.suffix}"
    write_bytes(path, neighbour.thumbnail, REMEDY)
    return path


def _is_ours(folder: Path) -> bool:
    """Whether earlier explanations lie here."""
    return (folder / SHEET).is_file() and any(folder.glob("*/picture.png"))


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
    return re.sub(r"[^\w-]+", "-", text).strip("-")[:60] or "picture"

"""Output of `frostline explain`: a folder of PNG files for each image, and one contact sheet.

DIR/sheet.png                        the first images with overlays and nearest training images
DIR/IMAGE/image.png                  the square that the network sees
DIR/IMAGE/1-CLASS-map.png            saliency map of the most probable class, 2-… of the next
DIR/IMAGE/1-CLASS-overlay.png        the map over the image
DIR/IMAGE/neighbor-1.png             the nearest training image (.jpg above 32 pixels a side)
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline._utils.output_folder import OutputFolder
from frostline._utils.progress import Progress, Silent, log
from frostline._utils.storage import OTHER_OUTPUT, write_bytes
from frostline.data.dataset import BadImage
from frostline.data.decoding.decode import decode_image
from frostline.data.decoding.decoder import Decoders
from frostline.data.decoding.target import Target
from frostline.data.encoding import to_png
from frostline.data.folder_names import unique_names
from frostline.errors import DataError
from frostline.inference.explain import BATCH, METHODS, Explainer, Neighbor, enlarge, scale
from frostline.inference.image_files import reason_of
from frostline.report.contact_sheet import MOST_ROWS, Panel, Row, draw_sheet
from frostline.report.overlay import color, overlay, square

SIDE = 320  # pixels of the written images
SHEET = "sheet.png"


@dataclass(frozen=True)
class ClassExplanation:
    """Files of one class of one image; ``blank`` if the map is zero everywhere."""

    class_name: str
    probability: float
    map: Path
    overlay: Path
    blank: bool


@dataclass(frozen=True)
class ExplainedImage:
    """Files of one image; ``neighbors`` with their files, or None without an index."""

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
    """Explain image files, and write maps, overlays and a contact sheet.

    Parameters
    ----------
    explainer : Explainer
    files : sequence of Path
    folder : Path
        New, empty, or with earlier explanations, whose files of the same names are replaced.
    title : str
        Of the sheet.
    stage, method
        As in `Explainer.explain`.
    top, neighbors : int
        Number of classes, most probable first, and of training images.
    progress : Progress, optional

    Returns
    -------
    tuple of list of ExplainedImage, list of BadImage, Path or None
        The explained and the unreadable images, and the sheet; None if no file was readable, and nothing is written.

    Raises
    ------
    ConfigError, StorageError
    RunError
        When the folder contains something else.
    """
    OutputFolder(str(folder), "choose another --output", folder, "explanation", [SHEET], OTHER_OUTPUT, _is_ours).check()
    stage = explainer.stage(stage)
    options = _Options(stage, method, top, neighbors)
    explained, bad, rows = list[ExplainedImage](), list[BadImage](), list[Row]()
    with (progress or Silent()).bar("explaining", len(files), "images") as bar:
        for good, unreadable in _decode(explainer, files, folder):
            for image, row in _explain(explainer, good, options):
                explained.append(image)
                rows += [row] if len(rows) < MOST_ROWS else []
            bad += unreadable
            bar.advance(len(good) + len(unreadable))
    if not rows:
        return explained, bad, None
    if len(explained) > MOST_ROWS:
        log.info("the sheet shows the first %d of %d images", MOST_ROWS, len(explained))
    side = explainer.grids[stage]
    sheet = draw_sheet(rows, title, f"{METHODS[method]} at {stage}, {side} × {side} grid")
    write_bytes(folder / SHEET, sheet, OTHER_OUTPUT)
    return explained, bad, folder / SHEET


@dataclass(frozen=True)
class _Options:
    stage: str
    method: str
    top: int
    neighbors: int


@dataclass(frozen=True, eq=False)
class _InputImage:
    """An image for the network and one to show, and the folder for its files."""

    file: Path
    folder: Path
    pixels: NDArray[np.uint8]
    shown: NDArray[np.uint8]


def _decode(
    explainer: Explainer, files: Sequence[Path], folder: Path
) -> Iterator[tuple[list[_InputImage], list[BadImage]]]:
    """Yield the readable and the unreadable files, batch by batch."""
    preprocess = explainer.model.preprocess
    levels, page = preprocess.levels, Target(SIDE, preprocess.fit)
    names = unique_names(_plain(file.stem) for file in files)
    with (
        Decoders(target=preprocess.target, levels=levels) as for_network,
        Decoders(target=page, levels=levels) as for_page,
    ):
        for start in range(0, len(files), BATCH):
            some = files[start : start + BATCH]
            good, bad = list[_InputImage](), list[BadImage]()
            decoded = zip(
                some, names[start : start + BATCH], for_network.decode(some), for_page.decode(some), strict=True
            )
            for file, name, pixels, shown in decoded:
                if isinstance(pixels, np.ndarray) and isinstance(shown, np.ndarray):
                    good.append(_InputImage(file, folder / name, pixels, square(shown, page)))
                else:
                    fault = next(one for one in (pixels, shown) if isinstance(one, DataError))
                    bad.append(BadImage(file, reason_of(fault, file)))
            yield good, bad


def _explain(
    explainer: Explainer, images: Sequence[_InputImage], options: _Options
) -> Iterator[tuple[ExplainedImage, Row]]:
    """Write the files of each image, and yield them with its row of the sheet."""
    pixels = [image.pixels for image in images]
    probabilities = explainer.predict_proba(pixels)  # (B, classes)
    order = probabilities.argsort(axis=1)[:, ::-1][:, : options.top]  # (B, K)
    maps = [scale(explainer.signed_maps(pixels, column.tolist(), options.stage, options.method)) for column in order.T]
    near = explainer.neighbors(pixels, options.neighbors) if explainer.knows_neighbors else None
    for i, image in enumerate(images):
        path = _write(image.folder / "image.png", image.shown)
        explanations, panels = list[ClassExplanation](), list[Panel]()
        for rank, (label, heat) in enumerate(zip(order[i], maps, strict=True), 1):
            name, probability = explainer.class_names[label], float(probabilities[i, label])
            grown = enlarge(heat[i : i + 1], SIDE)[0]
            over, blank = overlay(image.shown, grown), not heat[i].any()
            stem = image.folder / f"{rank}-{_plain(name)}"
            map_file = _write(stem.with_name(f"{stem.name}-map.png"), color(grown))
            over_file = _write(stem.with_name(f"{stem.name}-overlay.png"), over)
            explanations.append(ClassExplanation(name, probability, map_file, over_file, blank))
            panels.append(Panel(over, name, f"{probability:.3f}", "no supporting region" * blank))
        nearest = [] if near is None else near[i]
        written = [(one, _write_thumbnail(image.folder, n, one)) for n, one in enumerate(nearest, 1)]
        shown = [
            Panel(square(decode_image(one.thumbnail), Target(SIDE)), one.class_name, f"{one.similarity:.2f}")
            for one in nearest
        ]
        yield (
            ExplainedImage(image.file, path, explanations, None if near is None else written),
            Row(Panel(image.shown, image.file.name), panels, shown),
        )


def _write(path: Path, pixels: NDArray[np.uint8]) -> Path:
    write_bytes(path, to_png(pixels), OTHER_OUTPUT)
    return path


def _write_thumbnail(folder: Path, number: int, neighbor: Neighbor) -> Path:
    path = folder / f"neighbor-{number}{neighbor.suffix}"
    write_bytes(path, neighbor.thumbnail, OTHER_OUTPUT)
    return path


def _is_ours(folder: Path) -> bool:
    """Whether the folder holds earlier explanations."""
    return (folder / SHEET).is_file() and any(folder.glob("*/image.png"))


def _plain(text: str) -> str:
    """Return text as part of a file name: at most 60 letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^\w-]+", "-", text).strip("-")[:60] or "image"

"""`frostline predict`."""

import os
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frostline._utils.storage import OTHER_OUTPUT
from frostline.cli.settings import Device, OutputDir, check_name, option

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from frostline._utils.progress import Bar
    from frostline.cli.console import Unread
    from frostline.cli.predictions import FilePrediction, Writer
    from frostline.inference.classifier import Classifier
    from frostline.inference.image_files import FileAnswer
    from frostline.inference.sort_into import ClassFolders

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.", show_default=False)]
Tta = Annotated[
    int, typer.Option(help="Average over V views of each image: itself, its mirror image, …", metavar="V", min=1)
]


def predict(
    run: RunName,
    paths: Annotated[list[Path], typer.Argument(help="Image files or folders of them.", show_default=False)],
    top: Annotated[int, typer.Option(help="How many classes to name.", min=1)] = 5,
    output_format: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    output: Annotated[Path | None, option("Write to a file (standard output).", "FILE")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --output.")] = False,
    reject: Annotated[
        float | None,
        option("Answer 'unknown' below the confidence that loses at most this share of the validation images.", "X"),
    ] = None,
    sort_into: Annotated[Path | None, option("Copy each image into DIR/CLASS, over no other file.", "DIR")] = None,
    link: Annotated[str | None, option("With --sort-into: hard or symbolic links, not copies.", "KIND")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 2 when some images cannot be read, after answering the others.")
    ] = False,
    max_pixels: Annotated[int | None, option("Refuse images that claim more pixels (100 million).", "N")] = None,
    tta: Tta = 1,
    device: Device = "auto",
    output_dir: OutputDir = Path("runs"),
) -> None:
    """Name the most probable classes of images of any size; what cannot be read is named, too."""
    from frostline._utils.progress import Silent
    from frostline._utils.storage import write_bytes
    from frostline.cli.console import Screen, Unread
    from frostline.cli.predictions import FORMATS, FilePrediction, make_writer
    from frostline.cli.streams import write_result
    from frostline.config import choices
    from frostline.runs.folder import Run

    check_name("format", output_format, FORMATS)
    check_name("device", device, choices("device"))
    _check_options(reject, sort_into, link, max_pixels)
    refuse_taken(output, overwrite=overwrite)
    found = Run.load(run, output_dir)
    screen = Screen(stderr=True)
    with screen.lines():
        from frostline.data.decoding.decode import MAX_PIXELS
        from frostline.inference.classifier import Classifier
        from frostline.inference.image_files import classify_files, find_images
        from frostline.inference.sort_into import ClassFolders, check_target

        if sort_into is not None:
            check_target(sort_into, paths)
        images = find_images(paths)
        classifier = Classifier.load(found.folder, device)
        names = classifier.class_names
        threshold = None if reject is None else _threshold(classifier, reject)
        folders = ClassFolders(sort_into, names, rejected=reject is not None, link=link) if sort_into else None
        chunks: list[str] = []
        write = write_result if output is None else chunks.append
        writer = make_writer(
            output_format, write, None if output else Screen(), images.files, names, top,
            rejecting=reject is not None, sorting=sort_into is not None,
        )  # fmt: skip
        unread = Unread(len(images.files) + len(images.bad))
        answers = classify_files(classifier, images.files, tta=tta, max_pixels=max_pixels or MAX_PIXELS)
        missing = [FilePrediction(one.path, error=one.reason) for one in images.bad]
        judged = ([_judged(one, names, top, threshold, folders) for one in batch] for batch in answers)
        to_terminal = output is None and sys.stdout.isatty()  # what is drawn there is progress enough
        with (Silent() if to_terminal else screen.progress).bar("predicting", len(images.files), "images") as bar:
            _write(writer, chain([missing], judged), unread, bar)
        if output is not None:
            refuse_taken(output, overwrite=overwrite)
            write_bytes(output, "".join(chunks).encode(), OTHER_OUTPUT)
    if folders is not None:
        screen.say(f"{sort_into}: {folders.summary}")
    unread.conclude(screen, strict=strict)


def _threshold(classifier: "Classifier", reject: float) -> float:
    from frostline._utils.progress import log

    images = classifier.rejection.images
    if reject * images < 1:
        log.warning(
            "--reject %g of %d validation images is none of them: answers less sure than all of these are unknown",
            reject, images,
        )  # fmt: skip
    return classifier.threshold(reject)


def _write(writer: "Writer", batches: "Iterable[Sequence[FilePrediction]]", unread: "Unread", bar: "Bar") -> None:
    writer.begin()
    try:
        for batch in batches:
            unread.tell((one.file, one.error) for one in batch if one.error)
            writer.rows(batch)
            bar.advance(len(batch))
    finally:  # after Ctrl-C, too
        writer.end()


def _check_options(reject: float | None, sort_into: Path | None, link: str | None, max_pixels: int | None) -> None:
    from frostline.errors import ConfigError
    from frostline.evaluation.rejection import check_share

    if link is not None:
        check_name("kind of link", link, ("hard", "symbolic"))
        if sort_into is None:
            raise ConfigError("--link is for --sort-into: give both, or neither.")
    if max_pixels is not None and max_pixels < 1:
        raise ConfigError(f"--max-pixels {max_pixels}: expected 1 or more.")
    if reject is not None:
        check_share(reject)


def refuse_taken(output: Path | None, *, overwrite: bool) -> None:
    """Refuse to write over a file.

    Raises
    ------
    ConfigError
    """
    from frostline.errors import ConfigError

    if output is not None and os.path.lexists(output) and not overwrite:
        raise ConfigError(f"{output} exists: --overwrite replaces it, --output chooses another name.")


def _judged(
    answer: "FileAnswer",
    class_names: "Sequence[str]",
    top: int,
    threshold: float | None,
    folders: "ClassFolders | None",
) -> "FilePrediction":
    from frostline.cli.predictions import FilePrediction
    from frostline.errors import DataError
    from frostline.inference.image_files import reason_of

    row = answer.probabilities
    if row is None:
        return FilePrediction(answer.file, error=answer.reason)
    order = row.argsort()[::-1][:top]
    best = tuple((class_names[i], float(row[i])) for i in order)
    unknown = None if threshold is None else bool(row.max() < threshold)
    place, error = None, ""
    if folders is not None:
        try:
            place = folders.place(answer.file, None if unknown else int(order[0]))
        except DataError as fault:
            error = reason_of(fault, answer.file)
    return FilePrediction(answer.file, best, error, unknown, place)

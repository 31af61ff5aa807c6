"""`frostline predict`."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from frostline._utils.storage import OTHER_OUTPUT
from frostline.cli.settings import (
    ImagePaths,
    OutputDir,
    Overwrite,
    RunName,
    Strict,
    Tta,
    check_name,
    option,
    with_settings,
)

if TYPE_CHECKING:
    from frostline._utils.progress import Bar
    from frostline.cli.console import UnreadableImages
    from frostline.cli.prediction_output import FilePrediction, Writer
    from frostline.inference.classifier import Classifier
    from frostline.inference.image_files import FileAnswer
    from frostline.inference.sort_into import ClassFolders


@with_settings(("device",))
def predict(
    run: RunName,
    paths: ImagePaths,
    top: Annotated[int, typer.Option(help="How many classes to list.", min=1)] = 5,
    output_format: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    output: Annotated[Path | None, option("Write to a file (standard output).", "FILE")] = None,
    overwrite: Overwrite = False,
    reject: Annotated[
        float | None,
        option("Answer 'unknown' below the confidence that rejects at most this share of the validation images.", "X"),
    ] = None,
    sort_into: Annotated[Path | None, option("Copy each image into DIR/CLASS; no file is replaced.", "DIR")] = None,
    link: Annotated[str | None, option("With --sort-into: hard or symbolic links, not copies.", "KIND")] = None,
    strict: Strict = False,
    max_pixels: Annotated[int | None, option("Refuse images with more pixels (100 million).", "N", least=1)] = None,
    tta: Tta = 1,
    output_dir: OutputDir = Path("runs"),
    **options: Any,
) -> None:
    """Predict the classes of images of any size; files that cannot be read are listed with the reason."""
    from frostline._utils.progress import Silent
    from frostline._utils.storage import check_output, write_bytes
    from frostline.cli.console import Screen, UnreadableImages
    from frostline.cli.prediction_output import FORMATS, FilePrediction, make_writer
    from frostline.cli.streams import write_result
    from frostline.runs.folder import Run

    check_name("format", output_format, FORMATS)
    device = options["device"] or "auto"
    _check_options(device, reject, sort_into, link)
    if output is not None:
        check_output(output, overwrite=overwrite)
    found = Run.load(run, output_dir)
    screen = Screen(stderr=True)
    with screen.show_log():
        from frostline.inference.image_files import find_images
        from frostline.inference.sort_into import check_target

        if sort_into is not None:
            check_target(sort_into, paths)
        images = find_images(paths)
        predictor = _Predictor.load(found.folder, device, top, reject, sort_into, link)
        chunks: list[str] = []
        writer = make_writer(
            output_format, write_result if output is None else chunks.append, None if output else Screen(),
            images.files, predictor.classifier.class_names, top,
            rejecting=reject is not None, sorting=sort_into is not None,
        )  # fmt: skip
        unreadable = UnreadableImages(len(images.files) + len(images.bad))
        missing = [FilePrediction(bad.path, error=bad.reason) for bad in images.bad]
        predictions = chain([missing], predictor.predict(images.files, tta, max_pixels))
        to_terminal = output is None and sys.stdout.isatty()  # the growing table shows the progress
        with (Silent() if to_terminal else screen.progress).bar("predicting", len(images.files), "images") as bar:
            _write(writer, predictions, unreadable, bar)
        if output is not None:
            check_output(output, overwrite=overwrite)  # again: it may have been created meanwhile
            write_bytes(output, "".join(chunks).encode(), OTHER_OUTPUT)
    if predictor.folders is not None:
        screen.print(f"{sort_into}: {predictor.folders.summary}")
    unreadable.conclude(screen, strict=strict)


def _check_options(device: str, reject: float | None, sort_into: Path | None, link: str | None) -> None:
    from frostline.config import choices
    from frostline.errors import ConfigError
    from frostline.evaluation.rejection import check_share

    check_name("device", device, choices("device"))
    if link is not None:
        check_name("kind of link", link, ("hard", "symbolic"))
        if sort_into is None:
            raise ConfigError("--link is for --sort-into: give both, or neither.")
    if reject is not None:
        check_share(reject)


def _threshold(classifier: "Classifier", reject: float) -> float:
    from frostline._utils.progress import log

    images = classifier.rejection.images
    if reject * images < 1:
        log.warning(
            "--reject %g of %d validation images is less than one image: only predictions less confident than all of "
            "them are unknown", reject, images,
        )  # fmt: skip
    return classifier.threshold(reject)


def _write(
    writer: "Writer", batches: Iterable[Sequence["FilePrediction"]], unreadable: "UnreadableImages", bar: "Bar"
) -> None:
    writer.begin()
    try:
        for batch in batches:
            unreadable.report((prediction.file, prediction.error) for prediction in batch if prediction.error)
            writer.rows(batch)
            bar.advance(len(batch))
    finally:  # after Ctrl-C, too
        writer.end()


@dataclass(frozen=True)
class _Predictor:
    """Predicts image files: the top classes, whether they are rejected, and the class folder they are sorted into."""

    classifier: "Classifier"
    top: int
    threshold: float | None
    folders: "ClassFolders | None"

    @classmethod
    def load(
        cls, model: Path, device: str, top: int, reject: float | None, sort_into: Path | None, link: str | None
    ) -> Self:
        from frostline.inference.classifier import Classifier
        from frostline.inference.sort_into import ClassFolders

        classifier = Classifier.load(model, device)
        threshold, folders = None, None
        if reject is not None:
            threshold = _threshold(classifier, reject)
        if sort_into is not None:
            folders = ClassFolders(sort_into, classifier.class_names, rejected=reject is not None, link=link)
        return cls(classifier, top, threshold, folders)

    def predict(self, files: Sequence[Path], tta: int, max_pixels: int | None) -> Iterator[Sequence["FilePrediction"]]:
        from frostline.data.decoding.decode import MAX_PIXELS
        from frostline.inference.image_files import classify_files

        for answers in classify_files(self.classifier, files, tta=tta, max_pixels=max_pixels or MAX_PIXELS):
            yield [self._prediction(answer) for answer in answers]

    def _prediction(self, answer: "FileAnswer") -> "FilePrediction":
        from frostline.cli.prediction_output import FilePrediction
        from frostline.errors import DataError
        from frostline.inference.image_files import reason_of

        probabilities = answer.probabilities
        if probabilities is None:
            return FilePrediction(answer.file, error=answer.reason)
        order = probabilities.argsort()[::-1][: self.top]
        best = tuple((self.classifier.class_names[i], float(probabilities[i])) for i in order)
        rejected = None if self.threshold is None else bool(probabilities.max() < self.threshold)
        sorted_to, error = None, ""
        if self.folders is not None:
            try:
                sorted_to = self.folders.place(answer.file, None if rejected else int(order[0]))
            except DataError as problem:
                error = reason_of(problem, answer.file)
        return FilePrediction(answer.file, best, error, rejected, sorted_to)

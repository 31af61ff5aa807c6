"""Export of a run's model as one file, verified against `frostline predict` before it is written."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.progress import Progress, log, visible
from frostline._utils.storage import OTHER_OUTPUT, check_output, write_bytes, write_json
from frostline.data.registry import load_configured, redirected
from frostline.errors import ConfigError, FrostlineError, UnknownNameError, require
from frostline.exporters.exportable_model import export_program, export_record
from frostline.exporters.formats import ProgramClassifier, accuracy, check_accuracy, to_int8, to_onnx, to_pt2
from frostline.exporters.parity import (
    LIMIT,
    Answers,
    ImagePixels,
    LabeledImages,
    Parity,
    Predictor,
    check_parity,
    measure,
    real_images,
)
from frostline.inference.classifier import Classifier
from frostline.inference.onnx import OnnxClassifier
from frostline.models.backbone import Backbone
from frostline.pipeline.resolve import split
from frostline.runs.bundle import Model, load_bundle
from frostline.runs.folder import Run
from frostline.runs.sample import read_sample

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
QUANTIZATIONS = ("int8",)


@dataclass(frozen=True)
class Exported:
    """The written files.

    Attributes
    ----------
    path, parity_path : Path
        The model, and its comparison with `frostline predict`.
    parity : Parity
        Of the float32 model.
    int8 : dict or None
        Validation accuracy before and after, number of images, sizes and largest difference.
    """

    path: Path
    parity_path: Path
    parity: Parity
    int8: dict[str, Any] | None


def export(
    run: Run,
    path: Path | str | None = None,
    *,
    format: str = "onnx",
    quantize: str | None = None,
    allow_loss: bool = False,
    overwrite: bool = False,
    data: Path | str | None = None,
    backbone: Backbone | None = None,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Export a finished run's model as one file that takes raw images.

    The file is compared with `frostline.Classifier` on real images, and written only if it predicts the same.

    Parameters
    ----------
    run : Run
        Finished. Where its images are not at hand, the file is compared on the sample that the run keeps.
    path : path, optional
        ``NAME.onnx``, ``NAME-int8.onnx`` or ``NAME.pt2`` in the current folder by default.
    format : str
        ``onnx``, or ``torch`` for a `torch.export` program.
    quantize : str, optional
        ``int8``, for ``onnx`` only.
    allow_loss : bool
        Accept int8 that loses more than 0.5 points of accuracy.
    overwrite : bool
        Replace existing files.
    data : path, optional
        New place of the run's images, if they were moved.
    backbone : Backbone, optional
        The network, if it was passed to `frostline.fit`.
    cache_dir : path, optional
    progress : Progress, optional

    Raises
    ------
    ExportError
        When the file predicts something else; nothing is written then.
    FrostlineError
        For errors caused by user input or the environment.
    """
    progress = visible(progress)
    output = _check_request(run, path, format, quantize, allow_loss=allow_loss, overwrite=overwrite)
    about = export_record(run)
    images = _find_images(run, data, cache_dir, progress)  # before the export, which takes minutes
    model = load_bundle(run.model_folder, backbone)
    log.info("exporting run '%s' (%s)", run.name, model.backbone.name)
    content, predict = _translate(model, about, format)
    return write_verified(
        content, about, predict, model, images, output, quantize=quantize, allow_loss=allow_loss, progress=progress
    )


def _find_images(
    run: Run, data: Path | str | None, cache_dir: Path | str | None, progress: Progress | None
) -> Sequence[LabeledImages]:
    """Return the validation, test and training images of a run, or its sample where they cannot be loaded."""
    try:
        config = redirected(run.config, data, run.name)
        splits = split(load_configured(config, cache_dir, progress), config)
    except FrostlineError as error:
        if data is not None or not run.has(run.sample.name):
            raise
        sample = read_sample(run)
        log.info(
            "%s Comparing on the %d validation images that the run keeps in %s.",
            error, len(sample), run.sample.name,
        )  # fmt: skip
        return (sample,)
    return splits.val, splits.test, splits.train


def _check_request(
    run: Run, path: Path | str | None, format: str, quantize: str | None, *, allow_loss: bool, overwrite: bool
) -> Path:
    """Check the options and the packages, and return the output path."""
    if format not in ENDINGS:
        raise UnknownNameError("format", format, ENDINGS)
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise UnknownNameError("quantization", quantize, QUANTIZATIONS)
    if quantize and format != "onnx":
        raise ConfigError("--quantize int8 is for --format onnx: leave one of them out.")
    if allow_loss and not quantize:
        raise ConfigError("--allow-loss belongs to --quantize int8: leave it out.")
    require("export", "export", "onnx", "onnxruntime", "onnxscript")
    ending = ENDINGS[format]
    output = Path(path or (f"{run.name}-{quantize}{ending}" if quantize else f"{run.name}{ending}"))
    if output.suffix != ending:
        raise ConfigError(f"--output {output}: expected a name that ends in {ending}.")
    for file in (output, _parity_path(output)):
        check_output(file, overwrite=overwrite)
    return output


def _translate(model: Model, about: dict[str, Any], format: str) -> tuple[bytes, Predictor]:
    """Return the content of the file, and its predictor."""
    program = export_program(model)
    if format == "onnx":
        content = to_onnx(program, about, model.backbone.name)
        return content, OnnxClassifier(content).answers
    content = to_pt2(program, about)
    return content, ProgramClassifier(content).answers


def write_verified(
    content: bytes,
    about: dict[str, Any],
    predict: Predictor,
    model: Model,
    images: Sequence[LabeledImages],
    output: Path,
    *,
    quantize: str | None = None,
    allow_loss: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Compare an exported model with the run's model on real images, and write it if they predict the same.

    ``about`` and ``predict`` are the metadata and the predictor of the file; the first of ``images`` are the validation
    split, or a sample of it. Raises ExportError when they differ;
    nothing is written then.
    """
    parity = measure(_predictor(model), predict, real_images(images), model.preprocess.image_size, progress)
    check_parity(parity, str(output))
    int8 = None
    if quantize:
        content, int8 = _quantized(content, about, images, progress, allow_loss=allow_loss)
    return _written(output, content, parity, int8)


def _predictor(model: Model) -> Predictor:
    classifier = Classifier(model)

    def answers(images: list[ImagePixels]) -> Answers:
        probabilities = classifier.predict_proba(images)
        return probabilities, probabilities.argmax(1)

    return answers


def _quantized(
    content: bytes,
    about: dict[str, Any],
    images: Sequence[LabeledImages],
    progress: Progress | None,
    *,
    allow_loss: bool,
) -> tuple[bytes, dict[str, Any]]:
    val = images[0]
    quantized = to_int8(content, about, val, progress)
    plain, int8 = OnnxClassifier(content).answers, OnnxClassifier(quantized).answers
    before = accuracy(plain, val, "accuracy before", progress)
    after = accuracy(int8, val, "accuracy in int8", progress)
    check_accuracy(before, after, allow_loss=allow_loss)
    difference = measure(plain, int8, real_images(images), about["image_size"], progress)
    figures = {"accuracy_before": before, "accuracy_after": after, "images": len(val)}
    return quantized, figures | {
        "bytes_before": len(content),
        "bytes_after": len(quantized),
        "same_top1": difference.same_top1,
        "largest_difference": difference.largest_difference,
    }


def _written(output: Path, content: bytes, parity: Parity, int8: dict[str, Any] | None) -> Exported:
    parity_path = _parity_path(output)
    figures = {
        "file": output.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "compared_with": "frostline predict",
        "limit": LIMIT,
    }
    write_bytes(output, content, OTHER_OUTPUT)
    write_json(parity_path, {**figures, **asdict(parity), "int8": int8, "versions": _versions()}, OTHER_OUTPUT)
    return Exported(output, parity_path, parity, int8)


def _parity_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.parity.json")


def _versions() -> dict[str, str]:
    import onnx
    import onnxruntime
    import torch

    packages = {"torch": torch, "numpy": np, "onnx": onnx, "onnxruntime": onnxruntime}
    return {name: str(package.__version__) for name, package in packages.items()}

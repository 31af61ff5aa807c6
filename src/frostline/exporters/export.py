"""A run's model as one file that is known to do what `predict` does, or no file at all."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.progress import Progress, log, visible
from frostline._utils.storage import check_output, write_bytes, write_json
from frostline.data.registry import check_data, redirected
from frostline.errors import ConfigError, UnknownNameError
from frostline.exporters.exportable_model import exported
from frostline.exporters.metadata import origin
from frostline.exporters.onnx import check_onnx, to_onnx
from frostline.exporters.parity import LIMIT, Answers, ImagePixels, Parity, Predictor, demand, measure, real_images
from frostline.exporters.quantize import accuracy, demand_accuracy, to_int8
from frostline.exporters.torch_program import ProgramClassifier, to_pt2
from frostline.inference.classifier import Classifier
from frostline.inference.onnx import OnnxClassifier
from frostline.models.backbone import Backbone
from frostline.pipeline.context import make_context
from frostline.pipeline.resolve import load_images
from frostline.pipeline.split import RunSplits, split
from frostline.runs.bundle import Model, load_bundle
from frostline.runs.folder import Run

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
QUANTIZATIONS = ("int8",)
REMEDY = "--output chooses another place"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path, parity_path : Path
        The model, and beside it how it compares with `predict`.
    parity : Parity
        Of the model in float32.
    int8 : dict or None
        ``accuracy_before`` and ``accuracy_after`` on the validation split, ``images``, and how far the two are apart.
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

    The file is compared with `frostline.Classifier` on real images, and written only if it gives the same.

    Parameters
    ----------
    run : Run
        Finished; its images must still be there.
    path : path, optional
        ``NAME.onnx``, ``NAME-int8.onnx`` or ``NAME.pt2`` in the present folder when left out.
    format : str
        ``onnx``, or ``torch``: a program of ``torch.export``.
    quantize : str, optional
        ``int8``: 8 bits in place of 32, of ``onnx`` alone.
    allow_loss : bool
        Accept int8 that loses more than 0.5 points of accuracy.
    overwrite : bool
        Replace the file, and the one with the figures beside it, when they exist.
    data : path, optional
        Where the run's images are now, if they were moved.
    backbone : Backbone, optional
        The network, where `frostline.fit` was given one.
    cache_dir : path, optional
        Frostline's cache.
    progress : Progress, optional
        Draws bars.

    Returns
    -------
    Exported
        Paths, and how the file compares.

    Raises
    ------
    ExportError
        When it gives anything else; nothing is written then.
    UnknownNameError, ConfigError
        When format and quantization are unknown or do not go together, or a package is missing.
    FrostlineError
        When the run or its images are missing, or the disk refuses.
    """
    progress = visible(progress)
    _check_format(format, quantize, allow_loss=allow_loss)
    check_onnx()
    ending = ENDINGS[format]
    output = Path(path or (f"{run.name}-{quantize}{ending}" if quantize else f"{run.name}{ending}"))
    if output.suffix != ending:
        raise ConfigError(f"--output {output}: expected a name that ends in {ending}.")
    for file in (output, _parity_path(output)):
        check_output(file, overwrite=overwrite)
    about = origin(run)
    config = redirected(run.config, data, run.name)
    check_data(config.data)  # before the minutes that exporting takes
    model = load_bundle(run.model_folder, backbone)
    log.info("exporting run '%s' (%s)", run.name, model.backbone.name)
    program = exported(model)
    predict: Predictor
    if format == "onnx":
        content = to_onnx(program, about, model.backbone.name)
        predict = OnnxClassifier(content).answers
    else:
        content = to_pt2(program, about)
        predict = ProgramClassifier(content).answers
    splits = split(load_images(config, make_context(config.device, cache_dir, progress)), config)
    return delivered(
        content, about, predict, model, splits, output, quantize=quantize, allow_loss=allow_loss, progress=progress
    )


def _check_format(format: str, quantize: str | None, *, allow_loss: bool) -> None:
    if format not in ENDINGS:
        raise UnknownNameError("format", format, ENDINGS)
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise UnknownNameError("quantization", quantize, QUANTIZATIONS)
    if quantize and format != "onnx":
        raise ConfigError("--quantize int8 is for --format onnx: leave one of the two out.")
    if allow_loss and not quantize:
        raise ConfigError("--allow-loss belongs to --quantize int8: nothing else loses accuracy.")


def delivered(
    content: bytes,
    about: dict[str, Any],
    predict: Predictor,
    model: Model,
    splits: RunSplits,
    output: Path,
    *,
    quantize: str | None = None,
    allow_loss: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Compare what was exported with a run's own model on real images, and write it if it gives the same.

    Parameters
    ----------
    content, about : bytes, dict
        Of the file, and what it says of itself.
    predict : Predictor
        What the file does.
    model, splits : Model, RunSplits
        The run's.
    output : Path
    quantize, allow_loss
        As of `export`.

    Raises
    ------
    ExportError
        When it gives anything else; nothing is written then.
    """
    parity = measure(_answers(model), predict, real_images(splits), model.preprocess.image_size, progress)
    demand(parity, str(output))
    int8 = None
    if quantize:
        content, int8 = _quantized(content, about, splits, progress, allow_loss=allow_loss)
    return _written(output, content, parity, int8)


def _answers(model: Model) -> Callable[[list[ImagePixels]], Answers]:
    classifier = Classifier(model)

    def answers(images: list[ImagePixels]) -> Answers:
        probabilities = classifier.predict_proba(images)
        return probabilities, probabilities.argmax(1)

    return answers


def _quantized(
    content: bytes, about: dict[str, Any], splits: RunSplits, progress: Progress | None, *, allow_loss: bool
) -> tuple[bytes, dict[str, Any]]:
    small = to_int8(content, about, splits.val, progress)
    plain, quantized = OnnxClassifier(content).answers, OnnxClassifier(small).answers
    before = accuracy(plain, splits.val, "accuracy before", progress)
    after = accuracy(quantized, splits.val, "accuracy in 8 bits", progress)
    demand_accuracy(before, after, allow_loss=allow_loss)
    apart = measure(plain, quantized, real_images(splits), about["image_size"], progress)
    figures = {"accuracy_before": before, "accuracy_after": after, "images": len(splits.val)}
    return small, figures | {
        "bytes_before": len(content),
        "bytes_after": len(small),
        "same_top1": apart.same_top1,
        "largest_difference": apart.largest_difference,
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
    write_bytes(output, content, REMEDY)
    write_json(parity_path, {**figures, **asdict(parity), "int8": int8, "versions": _versions()}, REMEDY)
    return Exported(output, parity_path, parity, int8)


def _parity_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.parity.json")


def _versions() -> dict[str, str]:
    import onnx
    import onnxruntime
    import torch

    packages = {"torch": torch, "numpy": np, "onnx": onnx, "onnxruntime": onnxruntime}
    return {name: str(package.__version__) for name, package in packages.items()}

"""A run's model as one file that is known to do what `predict` does, or no file at all."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frostline.errors import ConfigError, UnknownNameError
from frostline.export.onnx import check_onnx, to_onnx
from frostline.export.origin import origin
from frostline.export.parity import LIMIT, Answers, Parity, Picture, Predictor, demand, measure, real_pictures
from frostline.export.program import ProgramClassifier, to_pt2
from frostline.export.quantise import accuracy, demand_accuracy, to_int8
from frostline.export.whole import exported
from frostline.images.registry import check_data, redirected
from frostline.networks.backbone import Backbone
from frostline.pipeline.context import make_context
from frostline.pipeline.resolve import load_images
from frostline.pipeline.split import RunSplits, split
from frostline.progress import Progress, log
from frostline.runs.bundle import Model, load_bundle
from frostline.runs.exported import OnnxClassifier
from frostline.runs.folder import Run
from frostline.runs.predict import Classifier
from frostline.storage import check_output, write_bytes, write_json

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
QUANTISATIONS = ("int8",)
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


@dataclass(frozen=True)
class Wish:
    """What is to be written.

    Parameters
    ----------
    kind : str
        ``onnx`` or ``torch``.
    quantise : str, optional
        ``int8``, of ``onnx`` alone.
    allow_loss : bool
        Accept 8 bits whatever they cost.

    Raises
    ------
    UnknownNameError, ConfigError
    """

    kind: str = "onnx"
    quantise: str | None = None
    allow_loss: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ENDINGS:
            raise UnknownNameError("format", self.kind, ENDINGS)
        if self.quantise is not None and self.quantise not in QUANTISATIONS:
            raise UnknownNameError("quantisation", self.quantise, QUANTISATIONS)
        if self.quantise and self.kind != "onnx":
            raise ConfigError("--quantize int8 is for --format onnx: leave one of the two out.")
        if self.allow_loss and not self.quantise:
            raise ConfigError("--allow-loss belongs to --quantize int8: nothing else loses accuracy.")


def export_run(
    run: Run,
    wish: Wish,
    output: Path | None = None,
    *,
    data: Path | str | None = None,
    overwrite: bool = False,
    backbone: Backbone | None = None,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Export a finished run's model, compare it with `predict` on real pictures, and write it if it gives the same.

    Parameters
    ----------
    run : Run
        Finished; its pictures must still be there.
    wish : Wish
    output : Path, optional
        ``NAME.onnx``, ``NAME-int8.onnx`` or ``NAME.pt2`` in the present folder when left out.
    data : path, optional
        Where the run's images are now, if they were moved.
    overwrite : bool
        Replace the file, and the one with the figures beside it, when they exist.
    backbone : Backbone, optional
        The network, where `frostline.fit` was given one.

    Returns
    -------
    Exported

    Raises
    ------
    ExportError
        When it gives anything else; nothing is written then.
    FrostlineError
        When the run, its pictures or a package are missing, or the disk refuses.
    """
    check_onnx()
    ending = ENDINGS[wish.kind]
    output = output or Path(f"{run.name}-{wish.quantise}{ending}" if wish.quantise else f"{run.name}{ending}")
    if output.suffix != ending:
        raise ConfigError(f"--output {output}: expected a name that ends in {ending}.")
    for path in (output, _parity_path(output)):
        check_output(path, overwrite=overwrite)
    about = origin(run)
    config = redirected(run.config, data, run.name)
    check_data(config.data)  # before the minutes that exporting takes
    model = load_bundle(run.model_folder, backbone)
    log.info("exporting run '%s' (%s)", run.name, model.backbone.name)
    program = exported(model)
    predict: Predictor
    if wish.kind == "onnx":
        content = to_onnx(program, about, model.backbone.name)
        predict = OnnxClassifier(content).answers
    else:
        content = to_pt2(program, about)
        predict = ProgramClassifier(content).answers
    splits = split(load_images(config, make_context(config.device, cache_dir, progress)), config)
    return delivered(content, about, predict, model, splits, wish, output, progress)


def delivered(
    content: bytes,
    about: dict[str, Any],
    predict: Predictor,
    model: Model,
    splits: RunSplits,
    wish: Wish,
    output: Path,
    progress: Progress | None = None,
) -> Exported:
    """Compare what was exported with a run's own model on real pictures, and write it if it gives the same.

    Parameters
    ----------
    content, about : bytes, dict
        Of the file, and what it says of itself.
    predict : Predictor
        What the file does.
    model, splits : Model, RunSplits
        The run's.

    Raises
    ------
    ExportError
        When it gives anything else; nothing is written then.
    """
    parity = measure(_answers(model), predict, real_pictures(splits), model.preprocess.image_size, progress)
    demand(parity, str(output))
    int8 = None
    if wish.quantise:
        content, int8 = _quantised(content, about, splits, wish, progress)
    return _written(output, content, parity, int8)


def _answers(model: Model) -> Callable[[list[Picture]], Answers]:
    classifier = Classifier(model)

    def answers(images: list[Picture]) -> Answers:
        probabilities = classifier.predict_proba(images)
        return probabilities, probabilities.argmax(1)

    return answers


def _quantised(
    content: bytes, about: dict[str, Any], splits: RunSplits, wish: Wish, progress: Progress | None
) -> tuple[bytes, dict[str, Any]]:
    small = to_int8(content, about, splits.val, progress)
    plain, quantised = OnnxClassifier(content).answers, OnnxClassifier(small).answers
    before = accuracy(plain, splits.val, "accuracy before", progress)
    after = accuracy(quantised, splits.val, "accuracy in 8 bits", progress)
    demand_accuracy(before, after, allow_loss=wish.allow_loss)
    apart = measure(plain, quantised, real_pictures(splits), about["image_size"], progress)
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

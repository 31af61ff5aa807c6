"""The settings of a run: descriptions, defaults, bounds and choices, validated before any work begins."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)

from frostline._utils.files import read_bytes, reading
from frostline._utils.storage import write_bytes
from frostline.errors import ConfigError, did_you_mean

GROUPS = ("Data", "Network", "Head", "Training", "Fine-tuning", "Augmentation", "Output")


def setting(group: str, description: str, *, unset: str = "", metavar: str = "", **bounds: Any) -> Any:
    """Return a field of `TrainConfig` with the description that command line, reference and estimators use.

    Parameters
    ----------
    group : str
        One of `GROUPS`.
    description : str
        Help text, without capital letter, full stop or default.
    unset : str
        What ``None``, ``"auto"`` or an empty value resolves to, for the help.
    metavar : str
        Placeholder for the value in the help; by default from the type.
    **bounds
        ``ge``, ``gt``, ``le``, ``lt`` and ``min_length``, as in `pydantic.Field`.
    """
    if group not in GROUPS:
        raise ValueError(f"group {group!r}: expected one of {', '.join(GROUPS)}.")
    return Field(
        description=description, json_schema_extra={"group": group, "unset": unset, "metavar": metavar}, **bounds
    )


EARLIER_DEFAULTS = {"model": "alexnet", "fit": "crop"}  # of versions that did not write these settings to disk


class TrainConfig(BaseModel):
    """All settings of a run.

    ``None`` and ``"auto"`` are resolved from the data. The ``config.toml`` of a finished run holds the resolved values,
    so it reproduces the run; only ``device`` remains ``"auto"``, which another machine may resolve differently.

    Raises
    ------
    ConfigError
        One sentence for each invalid value: name, expected and actual value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    data: Annotated[
        str,
        setting(
            "Data",
            "data set: a name from `frostline data list`, a folder of class folders, or a .csv, .tsv, .parquet or "
            ".npz file",
        ),
    ]
    data_dir: Annotated[Path | None, setting("Data", "folder that holds the data set's files", metavar="DIR")] = None
    strict: Annotated[bool, setting("Data", "refuse unreadable images instead of skipping them")] = False
    max_pixels: Annotated[int, setting("Data", "largest image in pixels; larger ones are skipped", ge=1, le=2**31)] = (
        100_000_000
    )
    path_column: Annotated[
        str | None,
        setting("Data", "a table's column of image paths", unset="path, file, …", metavar="NAME", min_length=1),
    ] = None
    label_column: Annotated[
        str | None, setting("Data", "a table's column of classes", unset="label, class", metavar="NAME", min_length=1)
    ] = None
    split_column: Annotated[
        str | None,
        setting("Data", "a table's column of splits: train, val or test", unset="split", metavar="NAME", min_length=1),
    ] = None
    group_column: Annotated[
        str | None,
        setting(
            "Data", "a table's column of groups, such as patients, that must share a split", unset="group",
            metavar="NAME", min_length=1,
        ),
    ] = None  # fmt: skip
    root: Annotated[
        Path | None,
        setting("Data", "folder that a table's paths are relative to", unset="the table's folder", metavar="DIR"),
    ] = None
    limit: Annotated[int | None, setting("Data", "use N training and N/6 test images, stratified", ge=1)] = None
    labels_per_class: Annotated[int | None, setting("Data", "train on N labeled images per class", ge=1)] = None
    val_fraction: Annotated[
        float, setting("Data", "share of the training images held out for validation", gt=0, lt=1)
    ] = 0.1
    test_fraction: Annotated[
        float,
        setting("Data", "share of each class held out for testing if there is no test split; 0: no test", ge=0, lt=1),
    ] = 0.15
    image_size: Annotated[
        int | None,
        setting("Data", "side in pixels that images are resized to", unset="128 for small images, else 224", ge=1),
    ] = None
    fit: Annotated[
        Literal["pad", "crop", "squash"],
        setting(
            "Data", "how an image becomes square; pad: with the mean of its border, crop: its center, squash: both "
            "sides resized",
        ),
    ] = "pad"  # fmt: skip
    workers: Annotated[
        int | None, setting("Data", "processes that decode image files", unset="all cores", ge=1, le=256)
    ] = None

    model: Annotated[
        str,
        setting(
            "Network",
            "pre-trained network: a name from `frostline models list`, timm:NAME or torchvision:NAME",
            unset="the best for your own images of those with weights on this machine; alexnet for data sets with a "
            "name, and with --weights, --freeze or --taps",
            metavar="NAME",
        ),
    ] = "auto"  # fmt: skip
    weights: Annotated[
        str,
        setting(
            "Network",
            "pre-trained weights: auto; imagenet or bundled (alexnet); pretrained (other networks); random; a .pth or "
            ".safetensors file; or a run's folder",
            metavar="NAME|FILE",
        ),
    ] = "auto"
    weights_sha256: Annotated[str | None, setting("Network", "refuse weights with another SHA-256 digest")] = None
    engine: Annotated[
        Literal["auto", "torch", "openvino", "onnxruntime"],
        setting(
            "Network", "library that runs the frozen stages; openvino needs the extra fast, onnxruntime export",
            unset="the fastest of those installed",
        ),
    ] = "auto"  # fmt: skip
    freeze: Annotated[
        str,
        setting(
            "Network", "last frozen stage; none thaws every stage", unset="the stage that heads are put on",
            metavar="STAGE",
        ),
    ] = "auto"  # fmt: skip
    taps: Annotated[
        Literal["auto"] | tuple[str, ...],
        setting(
            "Network", "frozen stages that the head reads, pooled to a small grid; none: only the last frozen stage",
            unset="chosen by the network and --freeze", metavar="STAGE,…",
        ),
    ] = "auto"  # fmt: skip

    head: Annotated[
        Literal["auto", "linear", "mlp", "ridge"],
        setting(
            "Head", "classifier on the features; ridge is linear, fitted in closed form",
            unset="auto, i.e. ridge on few images, else linear",
        ),
    ] = "auto"  # fmt: skip
    hidden_width: Annotated[int, setting("Head", "hidden units of the mlp head", ge=1, le=65536)] = 512
    dropout: Annotated[float, setting("Head", "dropout of the mlp head", ge=0, lt=1)] = 0.5
    prior: Annotated[
        Literal["auto", "drawn", "none"],
        setting(
            "Head", "covariance prior of the ridge head; drawn: within-class covariance of drawn objects",
            unset="auto, i.e. drawn for alexnet, else none",
        ),
    ] = "auto"  # fmt: skip

    epochs: Annotated[
        int | None,
        setting("Training", "passes over the training split", unset="12; up to 100 for a head on few images", ge=1,
                le=100_000),
    ] = None  # fmt: skip
    batch_size: Annotated[int, setting("Training", "images per gradient step", ge=1, le=65536)] = 256
    optimizer: Annotated[Literal["sgd", "adamw"], setting("Training", "optimizer")] = "adamw"
    lr: Annotated[
        float | None,
        setting("Training", "peak learning rate", unset="by optimizer, head and thawed stages", gt=0),
    ] = None
    lr_schedule: Annotated[Literal["onecycle", "cosine", "constant"], setting("Training", "learning-rate schedule")] = (
        "onecycle"
    )
    warm_up: Annotated[
        float | None,
        setting("Training", "share of the steps that warm the learning rate up", unset="by --lr-schedule", ge=0, lt=1),
    ] = None
    weight_decay: Annotated[float, setting("Training", "weight decay", ge=0)] = 0.05
    momentum: Annotated[float, setting("Training", "momentum of sgd", ge=0, lt=1)] = 0.9
    class_weights: Annotated[
        Literal["none", "balanced"], setting("Training", "weights of the classes; balanced: rare classes count as much")
    ] = "none"
    label_smoothing: Annotated[float, setting("Training", "label smoothing", ge=0, lt=1)] = 0.1
    patience: Annotated[
        int | None,
        setting(
            "Training", "epochs without a better validation result before training stops",
            unset="5 or a quarter of --epochs; never while stages are thawed", ge=1,
        ),
    ] = None  # fmt: skip
    ema: Annotated[
        float, setting("Training", "decay of a moving average of the weights, e.g. 0.999; 0: none", ge=0, lt=1)
    ] = 0.0
    compile: Annotated[
        bool, setting("Training", "compile the training step with torch.compile; needs a C++ compiler")
    ] = False
    seed: Annotated[int, setting("Training", "seed of every random number generator", ge=0, lt=2**63)] = 0
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"],
        setting("Training", "where to compute", unset="auto, i.e. cuda, else mps, else cpu"),
    ] = "auto"

    schedule: Annotated[
        Literal["head-first", "gradual", "together"],
        setting("Fine-tuning", "order in which thawed stages are trained; gradual: one more stage at a time"),
    ] = "head-first"
    head_epochs: Annotated[
        int | None,
        setting("Fine-tuning", "epochs for the head before stages are thawed", unset="as --epochs for a head alone",
                ge=1, le=100_000),
    ] = None  # fmt: skip
    head_lr: Annotated[
        float | None,
        setting("Fine-tuning", "peak learning rate of the head before stages are thawed", unset="by optimizer and head",
                gt=0),
    ] = None  # fmt: skip
    layer_decay: Annotated[
        float,
        setting("Fine-tuning", "learning-rate factor for each thawed stage below the head", gt=0, le=1),
    ] = 1.0
    clip_norm: Annotated[
        float | None,
        setting("Fine-tuning", "largest norm of the gradient; 0: no clipping", unset="1 while stages are thawed",
                ge=0),
    ] = None  # fmt: skip
    batch_norm: Annotated[
        bool,
        setting("Fine-tuning", "train thawed convolutions with batch normalization, folded into them afterwards"),
    ] = False
    amp: Annotated[
        bool, setting("Fine-tuning", "use mixed precision (bfloat16) for thawed stages where the device supports it")
    ] = False

    views: Annotated[
        int | None,
        setting(
            "Augmentation", "views of each training image, the image included",
            unset="1; one per epoch with --freeze none", metavar="V", ge=1, le=10_000,
        ),
    ] = None  # fmt: skip
    augment: Annotated[
        dict[str, float],
        setting("Augmentation", "strength of each augmentation, e.g. flip=0,rotation=10", metavar="NAME=X,…"),
    ] = {}
    mixup: Annotated[
        float,
        setting("Augmentation", "mixup of pairs of images or features, share from Beta(X, X); 0: none", ge=0, le=10),
    ] = 0.0
    cutmix: Annotated[
        float,
        setting("Augmentation", "CutMix of pairs of images or maps, share from Beta(X, X); 0: none", ge=0, le=10),
    ] = 0.0

    cache_dtype: Annotated[Literal["float16", "float32"], setting("Output", "precision of cached features")] = "float16"
    sample: Annotated[
        Literal["val", "none"],
        setting(
            "Output", "images that the run keeps to check exports without the data set: up to 512 of the validation "
            "split, or none",
        ),
    ] = "val"  # fmt: skip

    @model_validator(mode="wrap")
    @classmethod
    def _raise_config_error(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            raise ConfigError(" ".join(map(_explain, error.errors()))) from error

    @field_validator("augment", mode="before")
    @classmethod
    def _split_augment(cls, value: Any) -> Any:
        return split_pairs(value) if isinstance(value, str) else value

    @field_validator("taps", mode="before")
    @classmethod
    def _split_taps(cls, value: Any) -> Any:
        if not isinstance(value, str) or value == "auto":
            return value
        return () if value in ("none", "") else tuple(part.strip() for part in value.split(","))


def split_pairs(text: str) -> dict[str, str]:
    """Return ``{"flip": "0", "rotation": "10"}`` for ``flip=0,rotation=10``; nothing for ``default``."""
    parts = [] if text == "default" else [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): number.strip() for name, _, number in parts}


def _explain(item: Any) -> str:
    name = str(item["loc"][0])
    option = "--" + name.replace("_", "-")
    if item["type"] == "extra_forbidden":
        return f"unknown setting '{name}'.{did_you_mean(name, TrainConfig.model_fields)}"
    if item["type"] == "missing":
        return f"setting '{name}' is missing."
    expected = item["msg"].removeprefix("Input should be ")
    hint = ""
    if item["type"] == "literal_error":
        hint = did_you_mean(str(item["input"]), choices(name))
    return f"{option}: expected {expected}, got {item['input']!r}.{hint}"


def choices(name: str) -> list[str]:
    """Return the choices of a setting, e.g. ``["auto", "linear", "mlp", "ridge"]`` for ``head``."""
    return [word for word in get_args(TrainConfig.model_fields[name].annotation) if isinstance(word, str)]


def read_config(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML.
    """
    with reading(path, ConfigError, "give a TOML file, such as a run's config.toml"):
        return parse_config(read_bytes(path))


def parse_config(data: bytes) -> dict[str, Any]:
    """Parse the content of a TOML file; raises `ValueError` if it is not TOML in UTF-8."""
    return tomllib.loads(data.decode())


def write_config(config: TrainConfig, path: Path) -> None:
    """Write settings as TOML, except those that are ``None``."""
    values = config.model_dump(mode="json", exclude_none=True)
    write_bytes(path, tomli_w.dumps(values).encode())

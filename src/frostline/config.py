"""What a run is told, validated before anything long begins."""

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


class TrainConfig(BaseModel):
    """Everything that decides the result of a run.

    ``None`` and ``"auto"`` mean: choose by the data. A finished run's ``config.toml`` holds what was chosen, so it
    re-runs the same run.

    Raises
    ------
    ConfigError
        One sentence per wrong value: its name, what was expected, what came.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    data: Annotated[
        str,
        Field(
            description="data set: a name from `frostline data list`, or a folder, .csv, .tsv, .parquet or .npz file"
        ),
    ]
    data_dir: Annotated[Path | None, Field(description="folder that holds the data set's files")] = None
    strict: Annotated[bool, Field(description="refuse images that cannot be read, instead of leaving them out")] = False
    max_pixels: Annotated[
        int, Field(ge=1, le=2**31, description="pixels that an image file may have; larger ones are left out")
    ] = 100_000_000
    path_column: Annotated[str | None, Field(min_length=1, description="a table's column of image paths")] = None
    label_column: Annotated[str | None, Field(min_length=1, description="a table's column of classes")] = None
    split_column: Annotated[str | None, Field(min_length=1, description="a table's column of splits")] = None
    group_column: Annotated[
        str | None, Field(min_length=1, description="a table's column of groups that must share a split")
    ] = None
    root: Annotated[Path | None, Field(description="folder that a table's paths start from")] = None
    test_fraction: Annotated[
        float, Field(ge=0, lt=1, description="part of each class drawn for the test where there is none; 0: no test")
    ] = 0.15
    model: Annotated[
        str,
        Field(description="pre-trained network: a name from `frostline models list`, timm:NAME or torchvision:NAME"),
    ] = "alexnet"
    weights: Annotated[
        str,
        Field(
            description="auto, random, a .pth or .safetensors file; imagenet or bundled (alexnet); pretrained (others)"
        ),
    ] = "auto"
    weights_sha256: Annotated[str | None, Field(description="refuse weights with another digest")] = None
    freeze: Annotated[str, Field(description="last frozen stage; none trains every stage, auto none but the head")] = (
        "auto"
    )
    taps: Annotated[
        Literal["auto"] | tuple[str, ...],
        Field(description="frozen stages the head reads, pooled to a small grid: STAGE,..., none (boundary) or auto"),
    ] = "auto"
    image_size: Annotated[int | None, Field(ge=1, description="side in pixels that images are resized to")] = None
    head: Annotated[
        Literal["auto", "linear", "mlp", "ridge"],
        Field(description="what is trained on the activations; auto: linear, in closed form (ridge) on few images"),
    ] = "auto"
    hidden_width: Annotated[int, Field(ge=1, le=65536, description="hidden units of the mlp head")] = 512
    dropout: Annotated[float, Field(ge=0, lt=1, description="dropout of the mlp head")] = 0.5
    prior: Annotated[
        Literal["drawn", "none"],
        Field(description="what the ridge head knows beforehand: how features vary within drawn objects, or none"),
    ] = "drawn"
    schedule: Annotated[
        Literal["head-first", "gradual", "together"], Field(description="in which order thawed stages are trained")
    ] = "head-first"
    epochs: Annotated[int | None, Field(ge=1, le=100_000, description="passes over the training split")] = None
    head_epochs: Annotated[int | None, Field(ge=1, le=100_000, description="passes for the head before thawing")] = None
    batch_size: Annotated[int, Field(ge=1, le=65536, description="images per gradient step")] = 256
    optimizer: Annotated[Literal["sgd", "adamw"], Field(description="optimizer")] = "adamw"
    lr_schedule: Annotated[Literal["onecycle", "cosine", "constant"], Field(description="learning rate over time")] = (
        "onecycle"
    )
    warm_up: Annotated[float | None, Field(ge=0, lt=1, description="share of the steps that the rate climbs for")] = (
        None
    )
    lr: Annotated[float | None, Field(gt=0, description="peak learning rate")] = None
    head_lr: Annotated[float | None, Field(gt=0, description="peak learning rate of the head before thawing")] = None
    layer_decay: Annotated[
        float, Field(gt=0, le=1, description="factor on the learning rate for each thawed stage down from the head")
    ] = 1.0
    clip_norm: Annotated[
        float | None, Field(ge=0, description="largest norm of the gradient while stages are thawed; 0: any")
    ] = None
    ema: Annotated[
        float, Field(ge=0, lt=1, description="decay of a moving average of the weights, which is kept; 0: none")
    ] = 0.0
    mixup: Annotated[float, Field(ge=0, le=10, description="blend pairs of rows, share drawn from Beta(x, x)")] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=10, description="cut pairs of maps together, share from Beta(x, x)")] = 0.0
    batch_norm: Annotated[
        bool, Field(description="normalize thawed convolutions by batch while they learn; folded away afterwards")
    ] = False
    amp: Annotated[bool, Field(description="16-bit training of thawed stages, where the device gains by it")] = False
    compile: Annotated[bool, Field(description="torch.compile the training step; needs a C++ compiler")] = False
    momentum: Annotated[float, Field(ge=0, lt=1, description="momentum of sgd")] = 0.9
    weight_decay: Annotated[float, Field(ge=0, description="weight decay")] = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description="label smoothing")] = 0.1
    patience: Annotated[int | None, Field(ge=1, description="epochs without a better validation before stopping")] = (
        None
    )
    views: Annotated[
        int | None, Field(ge=1, le=10_000, description="versions of each training image, itself included")
    ] = None
    augment: Annotated[
        dict[str, float], Field(description="how far views 2, 3, … may be from the image: NAME=X,...")
    ] = {}
    limit: Annotated[int | None, Field(ge=1, description="use N training and N/6 test images, stratified")] = None
    labels_per_class: Annotated[int | None, Field(ge=1, description="train on N labeled images per class")] = None
    val_fraction: Annotated[float, Field(gt=0, lt=1, description="part of train kept for validation")] = 0.1
    seed: Annotated[int, Field(ge=0, lt=2**63, description="one seed for every source of randomness")] = 0
    device: Annotated[Literal["cpu", "cuda", "mps"], Field(description="where to compute")] = "cpu"
    workers: Annotated[int | None, Field(ge=1, le=256, description="processes that decode image files")] = None
    cache_dtype: Annotated[Literal["float16", "float32"], Field(description="precision of kept activations")] = (
        "float16"
    )

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
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
    """Return the words that a setting may be, e.g. ``["auto", "linear", "mlp", "ridge"]`` for ``head``."""
    words = get_args(TrainConfig.model_fields[name].annotation)
    return [word for word in words if isinstance(word, str)]


def read_config(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file.

    Raises
    ------
    ConfigError
        When the file is missing or is no TOML.
    """
    with reading(path, ConfigError, "give a TOML file, such as a run's config.toml"):
        return parse_config(read_bytes(path))


def parse_config(data: bytes) -> dict[str, Any]:
    """Return the settings in a TOML file's content.

    Raises
    ------
    ValueError
        When it is no TOML in UTF-8; parsers may raise other errors, too.
    """
    return tomllib.loads(data.decode())


def write_config(config: TrainConfig, path: Path) -> None:
    """Write settings as TOML; what is ``None`` is left out."""
    values = config.model_dump(mode="json", exclude_none=True)
    write_bytes(path, tomli_w.dumps(values).encode())

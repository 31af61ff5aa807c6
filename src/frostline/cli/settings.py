"""The options that say how a run is made: one list for every command that takes them."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from frostline.config import TrainConfig

Command = Callable[..., None]

DATA_HELP = "A name from `frostline data list`, a folder of class folders, or a .csv, .tsv, .parquet or .npz file."

Data = Annotated[str | None, typer.Argument(help=DATA_HELP, show_default=False)]
OutputDir = Annotated[Path, typer.Option(help="Folder that holds the runs.")]
CacheDir = Annotated[
    Path | None, typer.Option(help="Folder of kept activations and downloads.", envvar="FROSTLINE_CACHE_DIR")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]


def check_name(kind: str, name: str, allowed: Iterable[str]) -> None:
    """Refuse a name that is not among those allowed, and offer the nearest.

    Raises
    ------
    UnknownNameError
    """
    from frostline.errors import UnknownNameError

    allowed = tuple(allowed)
    if name not in allowed:
        raise UnknownNameError(kind, name, allowed)


def option(help_text: str, metavar: str | None = None) -> Any:
    """Return an option whose default the help text tells."""
    return typer.Option(help=help_text, metavar=metavar, show_default=False)


MovedData = Annotated[str | None, option("Where the run's images are now, if they were moved.", "PATH")]
ConfigFile = Annotated[Path | None, option("TOML file with any settings of train.", "FILE")]

# Each is left out (None) unless it is given: `TrainConfig` has the defaults.
SETTINGS: dict[str, Any] = {
    "data_dir": Annotated[Path | None, option("Folder that holds the data set's files.", "DIR")],
    "strict": Annotated[
        bool | None,
        typer.Option("--strict", help="Refuse images that cannot be read (left out).", show_default=False),
    ],
    "path_column": Annotated[str | None, option("Column of a table that holds the paths (path, file, …).", "NAME")],
    "label_column": Annotated[str | None, option("Column that holds the classes (label, class).", "NAME")],
    "split_column": Annotated[str | None, option("Column that says train, val or test (split).", "NAME")],
    "group_column": Annotated[
        str | None, option("Column of groups, e.g. patients, that stay in one split (group).", "NAME")
    ],
    "root": Annotated[Path | None, option("Folder that a table's paths start from (the table's own).", "DIR")],
    "test_fraction": Annotated[
        float | None, option("Part of each class to test on where no test split is given; 0: no test (0.15).", "X")
    ],
    "max_pixels": Annotated[int | None, option("Pixels an image may have; larger are left out (100,000,000).", "N")],
    "limit": Annotated[int | None, option("Use N training and N/6 test images, stratified.", "N")],
    "labels_per_class": Annotated[int | None, option("Train on N labeled images per class.", "N")],
    "views": Annotated[
        int | None,
        option("Versions of each training image, itself included (1; with --freeze none one per epoch).", "V"),
    ],
    "augment": Annotated[
        str | None, option("How far views 2, 3, … may be from it, e.g. flip=0,rotation=10.", "NAME=X,…")
    ],
    "val_fraction": Annotated[float | None, option("Part of train kept for validation (0.1).", "X")],
    "image_size": Annotated[int | None, option("Side in pixels (128 for small images, else 224).", "N")],
    "model": Annotated[str | None, option("Pre-trained network: alexnet, timm:NAME or torchvision:NAME (alexnet).")],
    "weights": Annotated[
        str | None,
        option(
            "auto, imagenet or bundled (alexnet), pretrained (others), random, a .pth/.safetensors file or a run's "
            "folder (auto)."
        ),
    ],
    "freeze": Annotated[
        str | None, option("Last frozen stage; none thaws all of them (the one heads go on: conv5).", "STAGE")
    ],
    "taps": Annotated[str | None, option("Stages the head reads: STAGE,…, none (the last alone) or auto.", "STAGES")],
    "head": Annotated[
        str | None, option("linear, mlp, ridge (linear, in closed form) or auto: ridge on few images (auto).")
    ],
    "hidden_width": Annotated[int | None, option("Hidden units of the mlp (512).", "N")],
    "dropout": Annotated[float | None, option("Dropout of the mlp (0.5).", "X")],
    "prior": Annotated[
        str | None, option("What ridge knows beforehand: drawn (how drawn objects vary) or none (drawn).")
    ],
    "schedule": Annotated[
        str | None,
        option("How stages are thawed: head-first, gradual (one more at a time) or together (head-first)."),
    ],
    "epochs": Annotated[
        int | None, option("Passes over the training split (12; up to 100 for a head on few images).", "N")
    ],
    "head_epochs": Annotated[int | None, option("Passes for the head before stages are thawed.", "N")],
    "batch_size": Annotated[int | None, option("Images per gradient step (256).", "N")],
    "optimizer": Annotated[str | None, option("sgd or adamw (adamw).")],
    "lr_schedule": Annotated[str | None, option("onecycle, cosine or constant (onecycle).")],
    "warm_up": Annotated[float | None, option("Share of the steps that the learning rate climbs for.", "X")],
    "lr": Annotated[float | None, option("Peak learning rate (by optimizer, head and what is thawed).", "X")],
    "head_lr": Annotated[float | None, option("The head's before stages are thawed.", "X")],
    "layer_decay": Annotated[
        float | None, option("Factor on the learning rate for each thawed stage down from the head (1).", "X")
    ],
    "momentum": Annotated[float | None, option("Momentum of sgd (0.9).", "X")],
    "weight_decay": Annotated[float | None, option("Weight decay (0.05).", "X")],
    "label_smoothing": Annotated[float | None, option("Label smoothing (0.1).", "X")],
    "clip_norm": Annotated[
        float | None, option("Largest norm of the gradient, 0 for any (1 while stages are thawed).", "X")
    ],
    "ema": Annotated[float | None, option("Keep a moving average of the weights, e.g. 0.999 (0: none).", "X")],
    "mixup": Annotated[float | None, option("Blend pairs of images or rows, e.g. 0.2 (0).", "X")],
    "cutmix": Annotated[float | None, option("Cut pairs of images or maps together, e.g. 1 (0).", "X")],
    "patience": Annotated[
        int | None, option("Epochs without a better validation before stopping (5, or a quarter; thawed: all).", "N")
    ],
    "batch_norm": Annotated[
        bool | None,
        typer.Option("--batch-norm", help="Normalize thawed convolutions by batch as they learn.", show_default=False),
    ],
    "amp": Annotated[bool | None, typer.Option("--amp", help="Train thawed stages in 16 bits.", show_default=False)],
    "compile": Annotated[
        bool | None, typer.Option("--compile", help="torch.compile the training step.", show_default=False)
    ],
    "seed": Annotated[int | None, option("One seed for everything (0).", "N")],
    "device": Annotated[str | None, option("cpu, cuda or mps (cpu).")],
    "workers": Annotated[int | None, option("Processes that decode image files (all cores).", "N")],
    "cache_dtype": Annotated[str | None, option("float16 or float32: precision of kept activations (float16).")],
}


# How a data set of one's own is read.
SOURCE_SETTINGS = ("path_column", "label_column", "split_column", "group_column", "root", "test_fraction")


def with_settings(names: Iterable[str] = tuple(SETTINGS)) -> Callable[[Command], Command]:
    """Give a command that takes ``**given`` the options of some settings."""

    def decorate(command: Command) -> Command:
        own = [one for one in inspect.signature(command).parameters.values() if one.kind is not one.VAR_KEYWORD]
        more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SETTINGS[name])
                for name in names]  # fmt: skip
        command.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in (*own, *more)}
        return command

    return decorate


def gather(command: str, data: str | None, config: Path | None, given: dict[str, Any]) -> "TrainConfig":
    """Return the settings of a file with those that are given over them.

    Raises
    ------
    ConfigError
        When one is impossible, or no data set is named.
    """
    from frostline.config import TrainConfig
    from frostline.errors import ConfigError

    settings = _of_file(config) if config else {}
    settings |= {name: value for name, value in ({"data": data} | given).items() if value is not None}
    if "data" not in settings:
        silent = f" {config} names none." if config else ""
        raise ConfigError(
            f"which data set?{silent} Give its name or folder, e.g. `frostline {command} fashion-mnist`; "
            "see `frostline data list`."
        )
    from frostline.data.registry import with_absolute_paths

    return with_absolute_paths(TrainConfig(**settings))


def _of_file(path: Path) -> dict[str, Any]:
    """Return the settings of a file; it is named when one of them is impossible."""
    from frostline.config import TrainConfig, read_config
    from frostline.errors import ConfigError

    settings = read_config(path)
    try:
        TrainConfig(**({"data": "any"} | settings))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return settings

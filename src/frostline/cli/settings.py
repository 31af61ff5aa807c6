"""Options of the commands: the shared ones, and one per setting, generated from `TrainConfig` when they are needed."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from frostline.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:  # pydantic takes longer to import than the list of commands to show
    from frostline.config import TrainConfig

Command = Callable[..., None]

DATA_HELP = "A name from `frostline data list`, a folder of class folders, or a .csv, .tsv, .parquet or .npz file."
OUTPUT = "Output"  # group of the options for where results are written


def option(
    help_text: str,
    metavar: str | None = None,
    *,
    group: str | None = None,
    least: float | None = None,
    words: Iterable[str] = (),
) -> Any:
    """Return an option whose help text states the default.

    ``least`` is the smallest number that it takes, and ``words`` are what a shell completes.
    """
    return typer.Option(
        help=help_text, metavar=metavar, show_default=False, rich_help_panel=group,
        callback=None if least is None else at_least(least), autocompletion=(lambda: list(words)) if words else None,
    )  # fmt: skip


def at_least(least: float) -> Callable[[typer.CallbackParam, Any], Any]:
    """Return the callback of an option that takes no smaller number: the error says which number was given."""

    def check(param: typer.CallbackParam, value: Any) -> Any:
        if value is not None and value < least:
            raise ConfigError(f"{param.opts[0]} {value}: expected {least:g} or more.")
        return value

    return check


def flag(name: str, help_text: str, *, group: str | None = None) -> Any:
    """Return an option without a value."""
    return typer.Option(name, help=help_text, show_default=False, rich_help_panel=group)


Data = Annotated[str | None, typer.Argument(help=DATA_HELP, metavar="DATA", show_default=False)]
DataName = Annotated[str, typer.Argument(help=DATA_HELP, metavar="DATA", show_default=False)]
OutputDir = Annotated[Path, typer.Option(help="Folder that holds the runs.", metavar="DIR", rich_help_panel=OUTPUT)]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the feature cache and of downloads.",
        metavar="DIR",
        envvar="FROSTLINE_CACHE_DIR",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[bool, flag("--quiet", "Print only errors.", group=OUTPUT)]
Verbose = Annotated[bool, flag("--verbose", "Print every line that log.txt gets.", group=OUTPUT)]
MovedData = Annotated[str | None, option("Where the run's images are now, if they were moved.", "PATH")]


def run_names(context: typer.Context) -> list[str]:
    """Return the names of the runs, for the completion of a shell, without reading or importing more than needed."""
    folder = Path(context.params.get("output_dir") or "runs")
    return sorted(manifest.parent.name for manifest in folder.glob("*/manifest.json"))


_RUN: Any = {"metavar": "RUN", "show_default": False, "autocompletion": run_names}
RunName = Annotated[str, typer.Argument(help="A run's name or folder.", **_RUN)]
RunNames = Annotated[list[str], typer.Argument(help="Names or folders of runs.", **_RUN)]
ImagePaths = Annotated[list[Path], typer.Argument(help="Image files or folders of them.", show_default=False)]
Overwrite = Annotated[bool, flag("--overwrite", "Replace a file of that name.")]
OverwriteOutput = Annotated[bool, flag("--overwrite", "Replace a file of that name.", group=OUTPUT)]
Strict = Annotated[bool, flag("--strict", "Exit with 2 if any image cannot be read, after processing the others.")]
Tta = Annotated[
    int,
    typer.Option(help="Average over V views of each image: itself, its mirror image, …", metavar="V", min=1),
]
ConfigFile = Annotated[Path | None, option("TOML file with any of the settings below; options win.", "FILE")]


def check_name(kind: str, name: str, allowed: Iterable[str]) -> None:
    """Raise `UnknownNameError`, with the nearest match, unless a name is among those allowed."""
    allowed = tuple(allowed)
    if name not in allowed:
        raise UnknownNameError(kind, name, allowed)


def provided(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def setting_option(name: str) -> Any:
    """Return the annotation of the option for a setting; it is ``None`` unless given.

    The option parses numbers and paths; `TrainConfig` holds the default and validates the value.
    """
    kind, group = _kind(name), str(_field(name).json_schema_extra["group"])
    if kind is bool:
        return Annotated[bool | None, flag("--" + name.replace("_", "-"), setting_help(name), group=group)]
    return Annotated[kind | None, option(setting_help(name), _metavar(name), group=group, words=_words(name))]


def setting_help(name: str) -> str:
    """Return the help text of a setting: its description, default and bounds."""
    field = _field(name)
    description, default = str(field.description), str(field.json_schema_extra["unset"])
    if not default and isinstance(field.default, str | int | float) and not isinstance(field.default, bool):
        default = _number(field.default) if isinstance(field.default, int | float) else field.default
    facts = "; ".join(part for part in (default and f"default: {default}", bounds(name)) if part)
    return f"{description[0].upper()}{description[1:]}." + (f"  [{facts}]" if facts else "")


def bounds(name: str) -> str:
    """Return the range of a number, e.g. ``0<=X<1``; empty for other settings and for counts without a maximum."""
    limits = {sign: getattr(bound, sign) for bound in _field(name).metadata for sign in SIGNS
              if getattr(bound, sign, LARGE) < LARGE}  # fmt: skip
    if not limits or (_kind(name) is int and limits.keys() == {"ge"}):
        return ""
    low = next((_number(limits[sign]) + SIGNS[sign] for sign in ("ge", "gt") if sign in limits), "")
    high = next((SIGNS[sign] + _number(limits[sign]) for sign in ("le", "lt") if sign in limits), "")
    return f"{low}{_metavar(name)}{high}"


SIGNS = {"ge": "<=", "gt": "<", "le": "<=", "lt": "<"}
LARGE = 10**6  # larger limits only protect the storage: the help omits them


def _number(value: float) -> str:
    return f"{value:_}" if isinstance(value, int) else f"{value:g}"


def _kind(name: str) -> Any:
    """Return the type that an option parses: bool, int, float, Path or str."""
    kind = _field(name).annotation
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    return next((parsed for parsed in (bool, int, float, Path) if parsed in kinds), str)


def _metavar(name: str) -> str:
    from frostline.config import choices

    named = str(_field(name).json_schema_extra["metavar"])
    return named or {int: "N", float: "X", Path: "PATH"}.get(_kind(name), "|".join(choices(name)))


def _words(name: str) -> list[str]:
    from frostline.config import choices

    return choices(name)


def _field(name: str) -> Any:
    """Return what `TrainConfig` says about a setting."""
    from frostline.config import TrainConfig

    return TrainConfig.model_fields[name]


def option_settings() -> tuple[str, ...]:
    """Return the settings with an option: all but those set by the argument, or only in a configuration file."""
    from frostline.config import TrainConfig

    return tuple(name for name in TrainConfig.model_fields if name not in ("data", "weights_sha256"))


# Options for reading a data set from files.
SOURCE_SETTINGS = ("path_column", "label_column", "split_column", "group_column", "root", "test_fraction")


def with_settings(names: Iterable[str] | None = None) -> Callable[[Command], Command]:
    """Add the options of settings, by default of all, to a command that takes ``**options``; see `SettingsCommand`."""

    def decorate(command: Command) -> Command:
        complete = inspect.signature(command)
        own = [parameter for parameter in complete.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
        command.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        command.settings = names  # type: ignore[attr-defined]
        return command

    return decorate


def read_settings(command: str, data: str | None, config: Path | None, options: Mapping[str, Any]) -> "TrainConfig":
    """Return the settings of a configuration file, overridden by the options that were given.

    Raises
    ------
    ConfigError
        If a value is invalid or no data set is named.
    """
    settings = _read_file(config) if config else {}
    settings |= provided({"data": data, **options})
    if "data" not in settings:
        hint = f" {config} names none." if config else ""
        raise ConfigError(
            f"which data set?{hint} Give its name or folder, e.g. `frostline {command} fashion-mnist`; "
            "see `frostline data list`."
        )
    from frostline.config import TrainConfig
    from frostline.data.registry import with_absolute_paths

    return with_absolute_paths(TrainConfig(**settings))


def _read_file(path: Path) -> dict[str, Any]:
    """Return the settings in a file; errors about them name the file."""
    from frostline.config import TrainConfig, read_config

    settings = read_config(path)
    try:
        TrainConfig(**({"data": "any"} | settings))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return settings

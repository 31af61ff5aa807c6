"""Options of the commands: the shared ones, and one per setting, generated from `TrainConfig` when they are needed."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperCommand
from typer.main import get_command

from frostline.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:  # pydantic takes longer to import than the list of commands to show
    from frostline.config import TrainConfig

Command = Callable[..., None]

DATA_HELP = "A name from `frostline data list`, a folder of class folders, or a .csv, .tsv, .parquet or .npz file."
OUTPUT = "Output"  # group of the options for where results are written


def option(help_text: str, metavar: str | None = None, *, group: str | None = None, least: float | None = None) -> Any:
    """Return an option whose help text states the default; ``least`` is the smallest number that it takes."""
    callback = None if least is None else at_least(least)
    return typer.Option(help=help_text, metavar=metavar, show_default=False, rich_help_panel=group, callback=callback)


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


Data = Annotated[str | None, typer.Argument(help=DATA_HELP, show_default=False)]
DataName = Annotated[str, typer.Argument(help=DATA_HELP, show_default=False)]
OutputDir = Annotated[Path, typer.Option(help="Folder that holds the runs.", rich_help_panel=OUTPUT)]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the feature cache and of downloads.", envvar="FROSTLINE_CACHE_DIR", rich_help_panel=OUTPUT
    ),
]
Quiet = Annotated[bool, flag("--quiet", "Print only errors.", group=OUTPUT)]
MovedData = Annotated[str | None, option("Where the run's images are now, if they were moved.", "PATH")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.", show_default=False)]
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
    return Annotated[kind | None, option(setting_help(name), _metavar(name), group=group)]


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
    """Add the options of settings, by default of all, to a `SettingsCommand` that takes ``**options``."""

    def decorate(command: Command) -> Command:
        complete = inspect.signature(command)
        own = [parameter for parameter in complete.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
        command.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        command.settings = names  # type: ignore[attr-defined]
        return command

    return decorate


class SettingsCommand(TyperCommand):
    """A command that reads `TrainConfig` for its options when it is run or its own help is shown, not before."""

    complete = False

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, those of the settings included."""
        if not self.complete:
            whole = get_command(_application(self.callback))
            self.params, self.callback, self.complete = whole.params, whole.callback, True
        return super().get_params(ctx)


def _application(command: Any) -> typer.Typer:
    """Return the application of one command with the options of its settings."""
    command = inspect.unwrap(command)  # typer's wrapper knows the command's own options alone
    own = inspect.signature(command).parameters.values()
    names = option_settings() if command.settings is None else command.settings
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=setting_option(name))
        for name in names
    ]

    def run(**values: Any) -> None:
        command(**values)

    run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
    app = typer.Typer(add_completion=False)
    app.command()(run)
    return app


class GroupedCommand(SettingsCommand):
    """A command whose plain help lists its options in groups: its own, then those of `GROUPS`.

    typer groups options only with rich, which takes longer to import than everything else.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each group of options."""
        from frostline.config import GROUPS

        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", "Options", *GROUPS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections[getattr(parameter, "rich_help_panel", None) or default].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


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

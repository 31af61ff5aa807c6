"""Applications: commands with plain help in groups of whole sentences.

typer groups commands and options, and wraps sentences, only with rich, which takes longer to import than the list of
commands to show.
"""

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from frostline.cli.settings import OUTPUT, option_settings, setting_option

COMMANDS = "Commands"


class GroupedCommand(TyperCommand):
    """A command whose plain help lists its options in groups: its own, then those of the settings."""

    groups: tuple[str, ...] = (OUTPUT,)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each group of options."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", "Options", *self.groups)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections[getattr(parameter, "rich_help_panel", None) or default].append(record)
        _write_sections(sections, formatter)


class SettingsCommand(GroupedCommand):
    """A command that reads `TrainConfig` for its options when it is run or its own help is shown, not before."""

    complete = False

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, those of the settings included."""
        if not self.complete:
            from frostline.config import GROUPS

            whole = get_command(_with_settings(self.callback))
            self.params, self.callback, self.groups, self.complete = whole.params, whole.callback, GROUPS, True
        return super().get_params(ctx)


def _with_settings(command: Any) -> typer.Typer:
    """Return the application of one command with the options of its settings."""
    command = inspect.unwrap(command)  # typer's wrapper takes only the options it was made with
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


class CommandGroup(TyperGroup):
    """Commands whose plain help lists them in groups, each with its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each group of commands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None)
            sentence = (command.help or "").partition("\n\n")[0]
            sections.setdefault(panel if isinstance(panel, str) else COMMANDS, []).append((name, sentence))
        _write_sections(sections, formatter)


def _write_sections(sections: dict[str, list[tuple[str, str]]], formatter: Any) -> None:
    for title, records in sections.items():
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


class Application(typer.Typer):
    """Commands, or commands of commands; ``-h`` is short for ``--help`` in all of them.

    Parameters
    ----------
    help : str
        Its purpose, or the names of its commands, in one sentence.
    **settings
        As for `typer.Typer`.
    """

    def __init__(self, help: str, **settings: Any) -> None:
        own: dict[str, Any] = {
            "cls": CommandGroup,
            "no_args_is_help": True,
            "context_settings": {"help_option_names": ["-h", "--help"]},
            "rich_markup_mode": None,
            "pretty_exceptions_enable": False,
        }
        super().__init__(help=help, **own | settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Return the decorator that adds a command; its options are shown in groups."""

        def add(function: Any) -> Any:
            kind = SettingsCommand if hasattr(function, "settings") else GroupedCommand
            return super(Application, self).command(name, cls=kind, **settings)(function)

        return add

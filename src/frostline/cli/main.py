"""The entry point: which command, and how errors reach a person."""

import sys
from typing import Annotated

import typer

from frostline.cli.audit import audit
from frostline.cli.compare import compare
from frostline.cli.curve import curve
from frostline.cli.deploy import evaluate, predict
from frostline.cli.explain import explain
from frostline.cli.export import export
from frostline.cli.find_lr import find_lr
from frostline.cli.inspect import cache_app, data_app, models_app, runs
from frostline.cli.new import new
from frostline.cli.pretrain import pretrain
from frostline.cli.report import report
from frostline.cli.serve import serve
from frostline.cli.train import train
from frostline.cli.tune import tune
from frostline.errors import FrostlineError, is_disk_error, storage_error

DONE, DEFECT, USER_CAN_MEND, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="frostline",
    help="Transfer learning for image classification that runs the frozen layers once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: quicker to load
    pretty_exceptions_enable=False,
)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("predict")(predict)
app.command("export")(export)
app.command("explain")(explain)
app.command("serve")(serve)
app.command("runs")(runs)
app.command("report")(report)
app.command("compare")(compare)
app.command("curve")(curve)
app.command("new")(new)
app.command("find-lr")(find_lr)
app.command("tune")(tune)
app.command("audit")(audit)
app.command("pretrain")(pretrain)
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.add_typer(cache_app, name="cache")


def _version(wanted: bool) -> None:
    if wanted:
        from frostline import __version__

        typer.echo(f"frostline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; exit codes: 0 done, 2 the user can mend it, 1 a defect of ours, 130 interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        code = app(arguments, prog_name="frostline", standalone_mode=False)
    except typer.TyperException as error:  # an option or argument that does not exist or does not parse
        return _refuse_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except FrostlineError as error:
        return _refuse(str(error), error)
    except OSError as error:
        if is_disk_error(error):
            return _refuse(str(storage_error(error)), error)
        raise
    if code == INTERRUPTED:  # newer versions of typer turn Ctrl-C into this code without a word
        sys.stderr.write(
            "\nfrostline: interrupted; what was computed is kept. The same command with --resume goes on.\n"
        )
    return code if isinstance(code, int) else DONE


def _refuse_usage(error: typer.TyperException) -> int:
    message = error.format_message()
    if message.startswith("Usage:"):  # no command was given: the message is the help
        sys.stderr.write(message + "\n")
        return USER_CAN_MEND
    where = getattr(error, "ctx", None)
    hint = f" See `{where.command_path} --help`." if where is not None else ""
    return _refuse(message + ("" if message.endswith((".", "?")) else ".") + hint, error)


def _refuse(message: str, error: Exception) -> int:
    sys.stderr.write(f"frostline: {' '.join(message.split())}\n")
    return USER_CAN_MEND

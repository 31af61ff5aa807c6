"""The command-line application: its commands, exit codes, error messages and signals."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from frostline._utils.text import printable
from frostline.cli.application import Application
from frostline.cli.deploy import export, serve
from frostline.cli.explain import explain
from frostline.cli.inspect import cache_app, data_app, models_app
from frostline.cli.predict import predict
from frostline.cli.results import compare, evaluate, report
from frostline.cli.runs import runs_app
from frostline.cli.streams import ReaderGone, resilient_streams
from frostline.cli.studies import audit, curve, find_lr, tune
from frostline.cli.train import new, train
from frostline.errors import (
    ConfigError,
    FrostlineError,
    first_line,
    is_disk_error,
    is_out_of_memory,
    storage_error,
)

DONE, USER_ERROR, INTERRUPTED = 0, 2, 130  # and 1 for a defect of Frostline: a traceback
SHELLS = ("bash", "fish", "powershell", "pwsh", "zsh")  # that typer completes in
RESUMABLE = ("train", "tune")  # with --resume

app = Application("Transfer learning for image classification that runs the frozen layers once.", name="frostline")
COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Train": {"train": train, "new": new, "find-lr": find_lr, "tune": tune},
    "Use a model": {"predict": predict, "explain": explain, "export": export, "serve": serve},
    "Inspect results and labels": {
        "evaluate": evaluate, "report": report, "compare": compare, "audit": audit, "curve": curve,
    },
}  # fmt: skip
for panel, commands in COMMANDS.items():
    for name, function in commands.items():
        app.command(name, rich_help_panel=panel)(function)
for name, application in {"runs": runs_app, "data": data_app, "models": models_app, "cache": cache_app}.items():
    app.add_typer(application, name=name, rich_help_panel="Manage")


def _print_version(requested: bool) -> None:
    if requested:
        from frostline import __version__

        typer.echo(f"frostline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def run(arguments: list[str], app: typer.Typer = app, name: str = "frostline") -> int:
    """Run one command of an application and return its exit code.

    0 done, 2 an error caused by user input or the environment, 1 a defect of Frostline, 130 interrupted by Ctrl-C, 143
    by SIGTERM. When the reader of standard output has closed it, a command that writes files (train) finishes, one that
    only prints results (predict) stops; both exit with 0.
    """
    code = INTERRUPTED
    try:
        with resilient_streams() as failure, stop_signals() as received:
            try:
                code = _run(arguments, app, name)
                unwritten = failure()
            except KeyboardInterrupt:
                code, unwritten = INTERRUPTED, None
            if code == INTERRUPTED:
                _print_error(f"\nfrostline: interrupted{_continue_hint(arguments)}")
                code = 128 + received[-1] if received else INTERRUPTED
            elif code == DONE and unwritten is not None:
                code = _refuse(f"{unwritten} The command has finished otherwise.")
    except KeyboardInterrupt:  # before the command began or after it ended
        pass
    return code


def _run(arguments: list[str], app: typer.Typer, name: str) -> int:
    try:
        _check_environment(arguments)
        _check_shell(arguments)
        code = app(arguments, prog_name=name, standalone_mode=False)
    except typer.TyperException as error:  # an option or argument that does not exist or does not parse
        return _refuse_usage(error)
    except typer.Abort:
        return INTERRUPTED
    except ReaderGone:
        return DONE
    except FrostlineError as error:
        return _refuse(str(error))
    except ModuleNotFoundError as error:
        if find_spec("torch") is not None:
            raise
        return _refuse(
            f"this command needs {error.name}, which is not installed: pip install frostline, in an environment of its "
            "own (frostline-runtime can only serve FILE.onnx)."
        )
    except OSError as error:
        if is_disk_error(error):
            return _refuse(str(storage_error(error)))
        raise
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            return _refuse(
                f"not enough memory ({first_line(error)}): close other programs, or use fewer or smaller images."
            )
        raise
    return code if isinstance(code, int) else DONE  # newer versions of typer turn Ctrl-C into its code


def _check_environment(arguments: list[str]) -> None:
    """Refuse empty arguments and a missing working directory, before a library fails on them.

    Raises
    ------
    ConfigError
    """
    for before, argument in pairwise(["", *arguments]):
        name = argument.removesuffix("=") if argument.startswith("-") else before if before.startswith("--") else ""
        if argument == "" or (argument.startswith("--") and argument.endswith("=")):
            what = f"{name} has an empty value" if name else "an argument is empty"
            raise ConfigError(f"{what}: give one, or leave it out.")
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the working directory cannot be used ({error.strerror}): it was moved or removed; change to another one."
        ) from error


def _check_shell(arguments: list[str]) -> None:
    """Refuse completion for a shell that typer does not recognize or support.

    Raises
    ------
    ConfigError
    """
    if not {"--install-completion", "--show-completion"}.intersection(arguments[:1]):
        return
    import shellingham

    try:
        shell = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        shell = "not recognized"
    if shell not in SHELLS:
        raise ConfigError(f"{arguments[0]}: the shell is {shell}; run it in {', '.join(SHELLS)}.")


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Handle SIGTERM and SIGHUP like Ctrl-C; yield the list of signals received.

    Signals that are ignored (`nohup`) or have another handler are not changed.
    """
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # only the main thread may set handlers
    handled = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _continue_hint(arguments: list[str]) -> str:
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    if command in RESUMABLE:
        return "; partial results are saved. Run the same command with --resume to continue."
    return "; run the same command again to continue." if command == "curve" else "."


def _refuse_usage(error: typer.TyperException) -> int:
    message = error.format_message()
    if message.startswith("Usage:"):  # no command was given: the message is the help
        _print_error(message)
        return USER_ERROR
    context = getattr(error, "ctx", None)
    hint = f" See `{context.command_path} --help`." if context is not None else ""
    return _refuse(" ".join(message.split()) + ("" if message.endswith((".", "?")) else ".") + hint)


def _refuse(message: str) -> int:
    _print_error(f"frostline: {printable(message.strip())}")
    return USER_ERROR


def _print_error(text: str) -> None:
    sys.stderr.write(text + "\n")

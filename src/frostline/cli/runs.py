"""`frostline runs`: list, show and remove runs."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli.application import Application
from frostline.cli.settings import OutputDir, RunName, RunNames

if TYPE_CHECKING:
    from frostline.runs.folder import Run

runs_app = Application("List runs side by side; show or remove runs.", no_args_is_help=False)


@runs_app.callback(invoke_without_command=True)
def list_all(context: typer.Context, output_dir: OutputDir = Path("runs")) -> None:
    """List runs side by side; show or remove runs."""
    if context.invoked_subcommand is not None:
        context.default_map = {context.invoked_subcommand: {"output_dir": output_dir}}
        return
    from frostline.cli.console import Screen
    from frostline.runs.folder import list_runs

    screen = Screen()
    with Screen(stderr=True).show_log():  # warnings about unreadable runs
        rows = [_run_row(run) for run in list_runs(output_dir)]
    if not rows:
        screen.print(f"no runs in {output_dir}: create one with `frostline train fashion-mnist`")
        return
    columns = ["run", "data", "weights", "freeze", "head reads", "head", "px", "lr", "seed", "val acc", "test acc", "s"]
    screen.table(columns, rows, left=6)


def _run_row(run: "Run") -> list[str]:
    from frostline.data.registry import data_name
    from frostline.errors import FrostlineError

    try:
        config = run.config
        reads = ",".join(config.taps) or "boundary"
        row = [run.name, data_name(config.data), config.weights, config.freeze, reads, config.head]
        row += [str(config.image_size), f"{config.lr:g}" if config.lr else "-", str(config.seed)]
        if not run.finished:
            return [*row, "unfinished", "", ""]
        metrics = run.metrics
        accuracies = [f"{metrics[split]['accuracy']:.4f}" if metrics[split] else "-" for split in ("val", "test")]
        return [*row, *accuracies, f"{metrics['total_seconds']:.1f}"]
    except FrostlineError as error:
        return [run.name, f"damaged: {error}", *[""] * 10]


@runs_app.command("show")
def show(run: RunName, output_dir: OutputDir = Path("runs")) -> None:
    """Show the settings and results of a run."""
    from frostline.cli.console import Screen
    from frostline.cli.results import show_results
    from frostline.runs.folder import Run

    found = Run.load(run, output_dir)
    screen = Screen()
    with Screen(stderr=True).show_log():
        screen.table(["run", found.name], _facts(found), left=2)
        results = found.metrics if found.finished else None
    screen.print("")
    if results is None:
        screen.print(f"not finished: `frostline train … --name {found.name} --resume` continues it")
        return
    show_results(screen, results, "test split")


def _facts(run: "Run") -> list[list[str]]:
    from frostline.cli.console import size_text
    from frostline.config import TrainConfig
    from frostline.data.registry import SOURCES
    from frostline.pipeline.in_force import in_force_of_run

    config = run.config
    gone = config.data not in SOURCES and not os.path.lexists(config.data)
    shown = {"data", "model", "weights", "weights_sha256", "freeze", "taps", "workers"}
    plain = TrainConfig(data=config.data)
    names = in_force_of_run(config) - shown
    others = [f"{name}={_text(value)}" for name, value in config if name in names and value != getattr(plain, name)]
    return [
        ["folder", str(run.folder)],
        ["size", size_text(_bytes(run.folder))],
        ["state", run.state],
        ["data", config.data + (" (no longer there: --data PATH gives the new place)" if gone else "")],
        ["network", f"{config.model}, {config.weights} weights"],
        ["frozen up to", config.freeze],
        ["head reads", ", ".join(config.taps) or "the boundary"],
        ["other settings", ", ".join(others)],
    ]


def _text(value: Any) -> str:
    return ",".join(f"{name}={number:g}" for name, number in value.items()) if isinstance(value, dict) else str(value)


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


@runs_app.command("rm")
def remove(
    runs: RunNames,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)] = False,
    output_dir: OutputDir = Path("runs"),
) -> None:
    """Remove runs, after asking; a folder with other files than Frostline's is refused."""
    from frostline.cli.console import Screen, size_text
    from frostline.errors import ConfigError
    from frostline.runs.folder import Run

    screen = Screen()
    found = {run.folder.absolute(): run for run in (Run.load(name, output_dir) for name in runs)}
    outputs = [replace(run.output, elsewhere="leave it out") for run in found.values()]
    for output in outputs:
        output.check_deletable()
    names = ", ".join(str(run.folder) for run in found.values())
    size = size_text(sum(_bytes(run.folder) for run in found.values()))
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"there is no terminal to confirm on: add --yes to remove {names}.")
        if not typer.confirm(f"Remove {names} ({size})?"):
            screen.print("nothing was removed")
            return
    for output in outputs:
        output.delete()
    screen.print(f"removed {names} ({size})")

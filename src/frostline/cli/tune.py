"""`frostline tune`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from frostline.cli.settings import CacheDir, ConfigFile, Data, Quiet, gather, option, with_settings


@with_settings()
def tune(
    data: Data = None,
    *,
    trials: Annotated[int, typer.Option(help="Trials in all, those before a --resume included.", metavar="N")] = 50,
    seconds: Annotated[float | None, option("Begin no trial after so long.", "S")] = None,
    search: Annotated[
        str | None,
        option(
            "What is searched, of lr, weight_decay, head, taps, label_smoothing, batch_size, freeze, augment "
            "(the first six, but for settings that are given).",
            "NAME,…",
        ),
    ] = None,
    name: Annotated[str | None, option("Name of the search (default DATA).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a search of that name.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a search.")] = False,
    output_dir: Annotated[Path, typer.Option(help="Folder that holds the searches.")] = Path("tunes"),
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    """Search for better settings of train by short trainings, judged by the validation split alone."""
    from frostline.cli.console import Screen

    checked = gather("tune", data, config, given)
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.data.registry import check_data, data_name
        from frostline.runs.folder import check_name
        from frostline.studies.importance import format_summary
        from frostline.studies.tune import tune as find

        names = None if search is None else tuple(part.strip() for part in search.split(",") if part.strip())
        check_data(checked.data)
        if name is not None:
            check_name(name)
        folder = output_dir / (data_name(checked.data) if name is None else name)
        findings = find(
            checked, folder, trials=trials, seconds=seconds, search=names, cache_dir=cache_dir, overwrite=overwrite,
            resume=resume, progress=screen.progress,
        )  # fmt: skip
    screen.say("")
    for line in format_summary(findings):
        screen.say(line)
    if findings.best is not None:
        image = "importance.png, " if findings.shares else ""
        screen.say("", f"wrote {folder}: config.toml, trials.csv, {image}summary.txt and study.db")
        screen.say(f"try: frostline train --config {folder / 'config.toml'}")

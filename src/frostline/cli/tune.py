"""`frostline tune`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from frostline.cli.settings import OUTPUT, CacheDir, ConfigFile, Data, Quiet, flag, gather, option, with_settings


@with_settings()
def tune(
    data: Data = None,
    *,
    trials: Annotated[int, typer.Option(help="Number of trials, those before a --resume included.", metavar="N")] = 50,
    seconds: Annotated[float | None, option("Begin no trial after S seconds.", "S")] = None,
    search: Annotated[
        str | None,
        option(
            "Settings to search, of lr, weight_decay, head, taps, label_smoothing, batch_size, freeze and augment.  "
            "[default: the first six, without those that are given]",
            "NAME,…",
        ),
    ] = None,
    name: Annotated[str | None, option("Name of the search.  [default: DATA]", "NAME", group=OUTPUT)] = None,
    overwrite: Annotated[bool, flag("--overwrite", "Replace a search of that name.", group=OUTPUT)] = False,
    resume: Annotated[bool, flag("--resume", "Continue a stopped search.", group=OUTPUT)] = False,
    output_dir: Annotated[Path, typer.Option(help="Folder that holds the searches.", rich_help_panel=OUTPUT)] = Path(
        "tunes"
    ),
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    """Search for better settings of train with short trainings, scored on the validation split."""
    from frostline.cli.console import Screen

    checked = gather("tune", data, config, given)
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.data.registry import check_data, data_name
        from frostline.runs.folder import check_name
        from frostline.studies.tune import tune as find
        from frostline.studies.tune_results import format_summary

        names = None if search is None else tuple(part.strip() for part in search.split(",") if part.strip())
        check_data(checked.data)
        if name is not None:
            check_name(name)
        folder = output_dir / (data_name(checked.data) if name is None else name)
        result = find(
            checked, folder, trials=trials, seconds=seconds, search=names, cache_dir=cache_dir, overwrite=overwrite,
            resume=resume, progress=screen.progress,
        )  # fmt: skip
    screen.say("")
    for line in format_summary(result):
        screen.say(line)
    if result.best is not None:
        image = "importance.png, " if result.importances else ""
        screen.say("", f"wrote {folder}: config.toml, trials.csv, {image}summary.txt and study.db")
        screen.say(f"try: frostline train --config {folder / 'config.toml'}")

"""`frostline new`."""

from pathlib import Path
from typing import Annotated

import typer

from frostline._utils.storage import OTHER_OUTPUT
from frostline.cli.settings import DATA_HELP, CacheDir, Quiet


def new(
    data: Annotated[str, typer.Argument(help=DATA_HELP, show_default=False)],
    *,
    output: Annotated[Path, typer.Option(help="File to write.", metavar="TOML")] = Path("config.toml"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Look at images and write a configuration for train: each choice, and why."""
    from frostline._utils.storage import check_output, write_bytes
    from frostline.cli.console import Screen
    from frostline.data.registry import load_dataset
    from frostline.errors import ConfigError

    check_output(output, overwrite=overwrite)
    screen = Screen(quiet=quiet)
    with screen.lines():
        splits = load_dataset(data, cache_dir=cache_dir, progress=screen.progress)
        from frostline.studies.suggest import suggest, to_toml

        seen, choices = suggest(splits, data)
    try:
        text = to_toml(seen, choices).encode()
    except UnicodeEncodeError as error:
        raise ConfigError("the path of the images is no UTF-8, which a TOML file must be: rename it.") from error
    check_output(output, overwrite=overwrite)
    write_bytes(output, text, OTHER_OUTPUT)
    for sentence in seen:
        screen.say(sentence)
    screen.say("", f"wrote {output}    try: frostline train --config {output}")

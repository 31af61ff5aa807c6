"""`frostline new`."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.settings import DATA_HELP, CacheDir, Quiet


def new(
    data: Annotated[str, typer.Argument(help=DATA_HELP, show_default=False)],
    *,
    output: Annotated[Path, typer.Option(help="File to write.", metavar="TOML")] = Path("config.toml"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Look at pictures and write a configuration for train: each choice, and why."""
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError
    from frostline.images.registry import load_dataset
    from frostline.storage import write_bytes

    def refuse_taken() -> None:
        if output.exists() and not overwrite:
            raise ConfigError(f"{output} exists: --overwrite replaces it, --output chooses another name.")

    refuse_taken()
    screen = Screen(quiet=quiet)
    with screen.lines():
        splits = load_dataset(data, cache_dir=cache_dir, progress=screen.progress)
        from frostline.runs.advice import advise, to_toml

        seen, choices = advise(splits, data)
    try:
        text = to_toml(seen, choices).encode()
    except UnicodeEncodeError as error:
        raise ConfigError("the path of the pictures is no UTF-8, which a TOML file must be: rename it.") from error
    refuse_taken()
    write_bytes(output, text, "--output chooses another place")
    for sentence in seen:
        screen.say(sentence)
    screen.say("", f"wrote {output}    try: frostline train --config {output}")

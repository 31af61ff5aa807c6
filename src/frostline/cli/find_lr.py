"""`frostline find-lr`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from frostline.cli.settings import OUTPUT, CacheDir, ConfigFile, Data, Quiet, flag, gather, with_settings

SETTINGS = (
    "data_dir", "limit", "labels_per_class", "image_size", "model", "weights", "freeze", "taps", "head", "hidden_width",
    "batch_size", "optimizer", "weight_decay", "label_smoothing", "seed", "device",
)  # fmt: skip


@with_settings(SETTINGS)
def find_lr(
    data: Data = None,
    *,
    output: Annotated[Path, typer.Option(help="Image to write.", metavar="PNG", rich_help_panel=OUTPUT)] = Path(
        "find-lr.png"
    ),
    overwrite: Annotated[bool, flag("--overwrite", "Replace a file of that name.", group=OUTPUT)] = False,
    steps: Annotated[int, typer.Option(help="Learning rates to try, one gradient step each.", metavar="N")] = 100,
    lowest: Annotated[float, typer.Option(help="First learning rate.", metavar="X")] = 1e-6,
    highest: Annotated[
        float, typer.Option(help="Last learning rate, unless the loss diverges before.", metavar="X")
    ] = 1.0,
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    """Suggest a learning rate for train by a range test: raise it at every step and watch the loss."""
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError

    checked = gather("find-lr", data, config, given)
    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output {output}: expected a name that ends in .png.")
    check_output(output, overwrite=overwrite)
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.studies.lr_finder import draw_curve
        from frostline.studies.lr_finder import find_lr as test_range

        test = test_range(
            checked, lowest=lowest, highest=highest, steps=steps, cache_dir=cache_dir, progress=screen.progress
        )
    draw_curve(test, f"{checked.data}: learning-rate range test", output)
    screen.say("")
    fall = f"{test.steepest:.1e}" if test.steepest else "none: the loss does not fall by a twentieth"
    screen.say(f"steepest descent                             {fall}")
    screen.say(f"a tenth of the last rate before it rises     {test.tenth:.1e}")
    screen.say(
        f"suggestion: --lr {test.suggestion:.1e}, the latter; read off {len(test.rates)} steps it is a place to begin, "
        "and only a training can tell"
    )
    screen.say(f"wrote {output}")

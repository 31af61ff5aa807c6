"""`frostline find-lr`."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.train import CacheDir, Data, Quiet, _option


def find_lr(
    data: Data = None,
    *,
    output: Annotated[Path, typer.Option(help="Picture to write.", metavar="PNG")] = Path("find-lr.png"),
    steps: Annotated[int, typer.Option(help="Learning rates to try, one gradient step each.", metavar="N")] = 100,
    lowest: Annotated[float, typer.Option(help="Rate to begin with.", metavar="X")] = 1e-6,
    highest: Annotated[
        float, typer.Option(help="Rate to end with, unless the loss explodes before.", metavar="X")
    ] = 1.0,
    cache_dir: CacheDir = None,
    config: Annotated[Path | None, _option("TOML file with any settings of train.", "FILE")] = None,
    quiet: Quiet = False,
    data_dir: Annotated[Path | None, _option("Folder that holds the data set's files.", "DIR")] = None,
    limit: Annotated[int | None, _option("Use N training images, stratified.", "N")] = None,
    labels_per_class: Annotated[int | None, _option("Use N labelled images per class.", "N")] = None,
    image_size: Annotated[int | None, _option("Side in pixels (128 for small images, else 224).", "N")] = None,
    model: Annotated[str | None, _option("Pre-trained network (alexnet).")] = None,
    weights: Annotated[
        str | None, _option("auto, imagenet, bundled, random or a .pth/.safetensors file (auto).")
    ] = None,
    freeze: Annotated[
        str | None, _option("Last frozen stage; none thaws all of them (the one heads go on: conv5).", "STAGE")
    ] = None,
    taps: Annotated[
        str | None, _option("Stages the head reads: STAGE,…, none (the last alone) or auto.", "STAGES")
    ] = None,
    head: Annotated[str | None, _option("linear or mlp (linear).")] = None,
    hidden_width: Annotated[int | None, _option("Hidden units of the mlp (512).", "N")] = None,
    batch_size: Annotated[int | None, _option("Images per gradient step (256).", "N")] = None,
    optimizer: Annotated[str | None, _option("sgd or adamw (adamw).")] = None,
    weight_decay: Annotated[float | None, _option("Weight decay (0.05).", "X")] = None,
    label_smoothing: Annotated[float | None, _option("Label smoothing (0.1).", "X")] = None,
    seed: Annotated[int | None, _option("One seed for everything (0).", "N")] = None,
    device: Annotated[str | None, _option("cpu, cuda or mps (cpu).")] = None,
) -> None:
    """Suggest a learning rate for train: raise it step by step and see where the loss falls and where it explodes."""
    given = {key: value for key, value in locals().items() if value is not None}
    for not_a_setting in ("output", "steps", "lowest", "highest", "cache_dir", "config", "quiet"):
        given.pop(not_a_setting, None)
    from frostline.cli.console import Screen
    from frostline.config import make_config, read_config
    from frostline.errors import ConfigError

    settings = (read_config(config) if config else {}) | given
    if "data" not in settings:
        raise ConfigError(
            "which data set? Give its name or folder, e.g. `frostline find-lr fashion-mnist`; "
            "see `frostline data list`."
        )
    checked = make_config(**settings)
    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output {output}: expected a name that ends in .png.")
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.experiments.find_lr import Span, draw_curve
        from frostline.experiments.find_lr import find_lr as test_range

        test = test_range(checked, Span(lowest, highest, steps), cache_dir=cache_dir, progress=screen.progress)
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

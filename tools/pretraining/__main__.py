"""Pre-train AlexNet's convolutions on drawn images: ``python -m tools.pretraining --help``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.main import run
from frostline.cli.settings import Quiet

Minutes = Annotated[float | None, typer.Option(help="Stop after this many minutes of work.", show_default=False)]
Images = Annotated[int | None, typer.Option(help="Stop after this many images.", metavar="N", show_default=False)]
Output = Annotated[Path | None, typer.Option(help="Weight file to write (.safetensors).", show_default=False)]
Show = Annotated[
    Path | None, typer.Option(help="Write a sheet of drawn images (PNG).", metavar="SHEET", show_default=False)
]


def pretrain(
    *,
    output: Output = None,
    minutes: Minutes = None,
    images: Images = None,
    show: Show = None,
    weights: Annotated[str, typer.Option(help="Initial weights: random, bundled, imagenet or a file.")] = "random",
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate (0.002).", metavar="X", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the images and the initial weights.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted pre-training.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files at --output or --show.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Pre-train AlexNet's convolutions on images that a program draws; use them with --weights FILE."""
    from frostline._utils.device import pick_device
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError
    from frostline.synthetic.scene import Program
    from tools.pretraining.recipe import Budget, Recipe
    from tools.pretraining.sheet import draw_program

    if output is None and (minutes, images) != (None, None):
        raise ConfigError("--minutes and --images need --output FILE.")
    if output is None and show is None:
        raise ConfigError(
            "nothing to do: --output FILE with --minutes or --images trains a network, --show SHEET draws images."
        )
    if output is not None and (minutes is None) == (images is None):
        raise ConfigError("expected either --minutes or --images with --output.")
    if (minutes is not None and minutes <= 0) or (images is not None and images < 2):
        raise ConfigError("--minutes must be above 0 and --images 2 or more.")
    if output is not None and output.suffix != ".safetensors":
        raise ConfigError(f"--output {output}: expected a name that ends in .safetensors.")
    if lr is not None and not 0 < lr < 1:
        raise ConfigError(f"--lr {lr}: expected a number above 0 and below 1, such as 0.002.")
    recipe = Recipe(program=Program(seed=seed)) if lr is None else Recipe(program=Program(seed=seed), lr=lr)
    screen = Screen(quiet=quiet)
    if show is not None:
        check_output(show, overwrite=overwrite, option="--show")
        draw_program(recipe.program, show)
        screen.print(f"wrote {show}")
    if output is None:
        return
    picked = pick_device(device)
    with screen.show_log():
        from frostline.models.registry import load_backbone
        from tools.pretraining.train import pretrain as run_pretraining

        start = None if weights == "random" else load_backbone(weights=weights, progress=screen.progress)
        digest = run_pretraining(
            recipe,
            Budget(images) if minutes is None else Budget(minutes=minutes),
            output,
            device=picked,
            start=start,
            resume=resume,
            overwrite=overwrite,
            progress=screen.progress,
        )
    screen.print(f"wrote {output}, SHA-256 {digest}    try: frostline train fashion-mnist --weights {output}")


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(pretrain)


def main(arguments: list[str]) -> int:
    """Run the tool and return its exit code, with the error handling of `frostline`."""
    return run(arguments, app, "pretraining")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

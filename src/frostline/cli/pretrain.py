"""`frostline pretrain`."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.settings import Quiet

Minutes = Annotated[float | None, typer.Option(help="Stop after so many minutes of work.", show_default=False)]
Images = Annotated[int | None, typer.Option(help="Stop after so many pictures.", metavar="N", show_default=False)]
Output = Annotated[Path | None, typer.Option(help="Weight file to write (.safetensors).", show_default=False)]
Show = Annotated[
    Path | None, typer.Option(help="Write a sheet of drawn pictures (PNG).", metavar="SHEET", show_default=False)
]


def pretrain(
    *,
    output: Output = None,
    minutes: Minutes = None,
    images: Images = None,
    show: Show = None,
    weights: Annotated[
        str, typer.Option(help="Go on from these: random (from nothing), bundled, imagenet or a file.")
    ] = "random",
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate (0.002).", metavar="X", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the pictures and the first weights.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped pre-training.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --output or --show.")] = False,
    quiet: Quiet = False,
) -> None:
    """Teach AlexNet's convolutions with pictures that a program draws; --weights FILE then uses them."""
    from frostline.cli.console import Screen
    from frostline.device import pick_device
    from frostline.errors import ConfigError
    from frostline.images.drawn.scene import Program
    from frostline.pretrain.recipe import Budget, Recipe
    from frostline.pretrain.sheet import draw_program
    from frostline.storage import check_output

    if output is None and (minutes, images) != (None, None):
        raise ConfigError("--minutes and --images need --output FILE: where shall the weights go?")
    if output is None and show is None:
        raise ConfigError(
            "nothing to do: --output FILE with --minutes or --images teaches a network, --show SHEET draws pictures."
        )
    if output is not None and (minutes is None) == (images is None):
        raise ConfigError("how long? Expected either --minutes or --images with --output.")
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
        screen.say(f"wrote {show}")
    if output is None:
        return
    chosen = pick_device(device)
    with screen.lines():
        from frostline.networks.registry import load_backbone
        from frostline.pretrain.train import pretrain as teach

        start = None if weights == "random" else load_backbone(weights=weights, progress=screen.progress)
        digest = teach(
            recipe,
            Budget(images) if minutes is None else Budget(minutes=minutes),
            output,
            device=chosen,
            start=start,
            resume=resume,
            overwrite=overwrite,
            progress=screen.progress,
        )
    screen.say(f"wrote {output}, SHA-256 {digest}    try: frostline train fashion-mnist --weights {output}")

"""`frostline export`."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.predict import RunName
from frostline.cli.settings import CacheDir, MovedData, OutputDir, Quiet, option


def export(
    run: RunName,
    kind: Annotated[str, typer.Option("--format", help="onnx, or torch: a program of torch.export.")] = "onnx",
    output: Annotated[Path | None, option("The file to write (default RUN.onnx or RUN.pt2, here).", "FILE")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    quantize: Annotated[str | None, option("int8: 8 bits in place of 32.", "int8")] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Accept int8 that loses more than 0.5 points of accuracy.")
    ] = False,
    data: MovedData = None,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Write one file that takes raw images and gives what predict gives; it is checked, or not written."""
    from frostline.cli.console import Screen, size_text
    from frostline.data.registry import redirected
    from frostline.runs.folder import Run

    screen = Screen(quiet=quiet)
    with screen.lines():
        found = Run.load(run, output_dir)
        redirected(found.config, data, found.name)  # refuses images that are gone before anything heavy is imported
        from frostline.exporters.export import export as deliver

        done = deliver(
            found, output, format=kind, quantize=quantize, allow_loss=allow_loss, overwrite=overwrite, data=data,
            cache_dir=cache_dir, progress=screen.progress,
        )  # fmt: skip
    parity = done.parity
    screen.say(
        f"compared with predict: the same class for all of {parity.images} images and {parity.varied} in other sizes "
        f"and colors; largest difference of a probability {parity.largest_difference:.1e}"
    )
    if done.int8 is not None:
        before, after = done.int8["accuracy_before"], done.int8["accuracy_after"]
        screen.say(
            f"int8: validation accuracy {after:.4f}, before {before:.4f} ({100 * (after - before):+.2f} points, "
            f"{done.int8['images']:,} images); {size_text(done.int8['bytes_after'])}, before "
            f"{size_text(done.int8['bytes_before'])}"
        )
    screen.say(f"wrote {done.path} ({size_text(done.path.stat().st_size)}) and {done.parity_path}")

"""`frostline curve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli.settings import OUTPUT, CacheDir, DataName, Quiet, flag, option, with_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frostline.cli.console import Screen
    from frostline.studies.learning_curve_results import CurvePoint, CurveSpec


@with_settings(("data_dir", "limit", "image_size", "model", "weights", "amp", "seed", "device"))
def curve(
    data: DataName,
    *,
    labels: Annotated[
        str, typer.Option(help="Labeled images per class; all: every one.", metavar="N,…")
    ] = "1,5,10,50,100,500,all",
    ways: Annotated[
        str, typer.Option(help="Methods to compare.", metavar="WAY,…")
    ] = "pixels,random-frozen,frozen,fine-tuned,scratch",
    repeats: Annotated[int, typer.Option(help="Random draws of the labeled images.", min=1)] = 3,
    seconds_per_point: Annotated[
        float, typer.Option(help="Time for each point of the methods that train the network.", metavar="S")
    ] = 60.0,
    full: Annotated[bool, flag("--full", "Run the methods that train the network with all labels, too.")] = False,
    target: Annotated[float, typer.Option(help="Accuracy to count the needed labels for.", metavar="X")] = 0.8,
    train_size: Annotated[
        int, typer.Option(help="Image side in pixels for the methods that train the network.", metavar="N")
    ] = 64,
    output_dir: Annotated[
        Path | None, option("Folder of the result.  [default: curves/DATA]", "DIR", group=OUTPUT)
    ] = None,
    overwrite: Annotated[bool, flag("--overwrite", "Replace a curve with other settings.", group=OUTPUT)] = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    """Measure accuracy against the number of labeled images, for five ways to train a classifier."""
    from frostline.cli.console import Screen
    from frostline.config import TrainConfig

    numbers = _numbers(labels)
    config = TrainConfig(data=data, **{name: value for name, value in given.items() if value is not None})
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.data.registry import check_data, data_name
        from frostline.studies.learning_curve import curve as measure
        from frostline.studies.learning_curve_results import CurveSpec, check_spec

        question = CurveSpec(
            numbers, tuple(way.strip() for way in ways.split(",")), repeats, seconds_per_point, train_size, full, target
        )
        check_spec(question)
        check_data(data)
        output = output_dir or Path("curves") / data_name(data)
        points = measure(config, question, output, cache_dir=cache_dir, overwrite=overwrite, progress=screen.progress)
    _show(screen, points, question)
    screen.say("", f"wrote {output}/curve.png, curve.csv, summary.txt and points.jsonl")


def _numbers(labels: str) -> tuple[int, ...]:
    """Return numbers of labels per class; 0 stands for ``all``."""
    from frostline.errors import ConfigError

    parts = [part.strip() for part in labels.split(",")]
    try:
        numbers = tuple(0 if part == "all" else int(part) for part in parts)
    except ValueError as error:
        raise ConfigError(f"--labels {labels}: expected numbers per class and all, such as 1,10,100,all.") from error
    if any(number < 1 for number, part in zip(numbers, parts, strict=True) if part != "all"):
        raise ConfigError(f"--labels {labels}: expected numbers of 1 or more, and all.")
    return numbers


def _show(screen: "Screen", points: "Sequence[CurvePoint]", question: "CurveSpec") -> None:
    from frostline.studies.learning_curve_results import WAYS, summarize, tabulate

    rows = [
        [
            WAYS[cell.way][0],
            str(cell.labels or "all"),
            f"{cell.mean:.4f}" + (f" ± {cell.half_width:.4f}" if cell.half_width == cell.half_width else ""),
            f"{cell.seconds:.1f}",
        ]
        for cell in tabulate(points)
    ]
    screen.say("")
    screen.table(["way", "labels per class", "test accuracy (95 %)", "seconds"], rows, left=1)
    screen.say("", *summarize(points, question))

"""`frostline curve`."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.settings import DATA_HELP, CacheDir, Quiet

Data = Annotated[str, typer.Argument(help=DATA_HELP, show_default=False)]


def curve(
    data: Data,
    *,
    labels: Annotated[
        str, typer.Option(help="Labelled images per class; all: every one.", metavar="N,…")
    ] = "1,5,10,50,100,500,all",
    ways: Annotated[
        str, typer.Option(help="Ways to compare.", metavar="WAY,…")
    ] = "pixels,random-frozen,frozen,fine-tuned,scratch",
    repeats: Annotated[int, typer.Option(help="Draws of the labeled images.", min=1)] = 3,
    seconds_per_point: Annotated[
        float, typer.Option(help="For each point of the ways that train the network.", metavar="S")
    ] = 60.0,
    full: Annotated[
        bool, typer.Option("--full", help="Ask the ways that train the network with all labels too.")
    ] = False,
    target: Annotated[float, typer.Option(help="Accuracy that labels are counted for.", metavar="X")] = 0.8,
    output_dir: Annotated[
        Path | None, typer.Option(help="Folder of the result (default curves/DATA).", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a curve with other settings.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Folder that holds the data set's files.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Draw from N training images, test on N/6.", metavar="N", show_default=False)
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels for the frozen ways.", metavar="N", show_default=False)
    ] = None,
    train_size: Annotated[
        int, typer.Option(help="Side in pixels for the ways that train the network.", metavar="N")
    ] = 64,
    model: Annotated[str, typer.Option(help="Pre-trained network.")] = "alexnet",
    weights: Annotated[str, typer.Option(help="auto, imagenet, bundled or a file.")] = "auto",
    amp: Annotated[bool, typer.Option("--amp", help="Train the network in 16 bits.")] = False,
    seed: Annotated[int, typer.Option(help="Draws the images.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Measure accuracy against the number of labeled images, for five ways to a classifier."""
    from frostline.cli.console import Screen
    from frostline.config import TrainConfig
    from frostline.errors import ConfigError

    try:
        numbers = tuple(0 if part.strip() == "all" else int(part) for part in labels.split(","))
    except ValueError as error:
        raise ConfigError(f"--labels {labels}: expected numbers per class and all, such as 1,10,100,all.") from error
    if any(number < 1 for number, part in zip(numbers, labels.split(","), strict=True) if part.strip() != "all"):
        raise ConfigError(f"--labels {labels}: expected numbers of 1 or more, and all.")
    config = TrainConfig(
        data=data, data_dir=data_dir, limit=limit, image_size=image_size, model=model, weights=weights, amp=amp,
        seed=seed, device=device,  # type: ignore[arg-type] # checked there
    )  # fmt: skip
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.data.registry import check_data, data_name
        from frostline.studies.learning_curve import curve as measure
        from frostline.studies.learning_curve_results import WAYS, CurveSpec, check_spec, summarize, tabulate

        question = CurveSpec(
            numbers, tuple(way.strip() for way in ways.split(",")), repeats, seconds_per_point, train_size, full, target
        )
        check_spec(question)
        check_data(data)
        output = output_dir or Path("curves") / data_name(data)
        points = measure(config, question, output, cache_dir=cache_dir, overwrite=overwrite, progress=screen.progress)
    screen.say("")
    rows = [
        [
            WAYS[cell.way][0],
            str(cell.labels or "all"),
            f"{cell.mean:.4f}" + (f" ± {cell.half_width:.4f}" if cell.half_width == cell.half_width else ""),
            f"{cell.seconds:.1f}",
        ]
        for cell in tabulate(points)
    ]
    screen.table(["way", "labels per class", "test accuracy (95 %)", "seconds"], rows, left=1)
    screen.say("")
    for line in summarize(points, question):
        screen.say(line)
    screen.say("", f"wrote {output}/curve.png, curve.csv, summary.txt and points.jsonl")

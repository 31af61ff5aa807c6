"""`frostline predict` and `evaluate`: using what a run left."""

import csv
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from frostline.cli.settings import CacheDir, OutputDir, Quiet, check_name

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.", show_default=False)]
Tta = Annotated[
    int, typer.Option(help="Average over V views of each picture: itself, its mirror image, …", metavar="V", min=1)
]
FORMATS = ("table", "csv", "json")


def predict(
    run: RunName,
    paths: Annotated[list[Path], typer.Argument(help="Picture files or folders of them.", show_default=False)],
    top: Annotated[int, typer.Option(help="How many classes to name.", min=1)] = 5,
    output_format: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    tta: Tta = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    output_dir: OutputDir = Path("runs"),
) -> None:
    """Name the most probable classes of pictures of any size."""
    from frostline.cli.console import Screen
    from frostline.config import choices
    from frostline.runs.folder import find_run

    check_name("format", output_format, FORMATS)
    check_name("device", device, choices("device"))
    found = find_run(run, output_dir)
    screen = Screen(stderr=True)
    with screen.lines():
        from frostline.runs.predict import Classifier, picture_files

        files = picture_files(paths)
        classifier = Classifier.load(found.folder, device)
        probabilities = classifier.predict_proba(files, tta)
    rows = []
    for file, row in zip(files, probabilities, strict=True):
        best = row.argsort()[::-1][:top]
        rows.append((file, [(classifier.class_names[i], float(row[i])) for i in best]))
    _write_predictions(rows, output_format)


def _write_predictions(rows: list[tuple[Path, list[tuple[str, float]]]], output_format: str) -> None:
    if output_format == "json":
        listed = [
            {"file": str(file), "predictions": [{"class": name, "probability": p} for name, p in best]}
            for file, best in rows
        ]
        sys.stdout.write(json.dumps(listed, indent=2, ensure_ascii=False) + "\n")
    elif output_format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["file", "rank", "class", "probability"])
        for file, best in rows:
            writer.writerows([file, rank, name, f"{p:.6f}"] for rank, (name, p) in enumerate(best, 1))
    else:
        from frostline.cli.console import Screen

        width = max((len(best) for _, best in rows), default=0)
        columns = ["file", *(f"{'best' if rank == 1 else rank}" for rank in range(1, width + 1))]
        cells = [[str(file), *(f"{name} {p:.3f}" for name, p in best)] for file, best in rows]
        Screen().table(columns, cells, left=width + 1)


def evaluate(
    run: RunName,
    tta: Tta = 1,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Measure a finished run's model again on the test split it was judged by."""
    from frostline.cli.console import Screen
    from frostline.cli.tables import show_results
    from frostline.runs.folder import find_run

    found = find_run(run, output_dir)
    split = "test" if found.metrics["test"] else "val"
    recorded: dict[str, Any] = found.metrics[split]
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.runs.predict import evaluate_run

        results = evaluate_run(found, tta=tta, cache_dir=cache_dir, progress=screen.progress)
    test, averaged = results[split], f", averaged over {tta} views" if tta > 1 else ""
    screen.say("")
    show_results(screen, results, f"{found.name}: test split{averaged}")
    screen.say(f"\nrecorded when the run finished: {recorded['accuracy']:.4f}; now{averaged}: {test['accuracy']:.4f}")
    screen.say(f"validation accuracy{averaged}: {results['val']['accuracy']:.4f}")

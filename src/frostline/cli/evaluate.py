"""`frostline evaluate`."""

from pathlib import Path

from frostline.cli.predict import RunName, Tta
from frostline.cli.settings import CacheDir, MovedData, OutputDir, Quiet


def evaluate(
    run: RunName,
    data: MovedData = None,
    tta: Tta = 1,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Measure a finished run's model again on its validation and test splits."""
    from frostline.cli.console import Screen
    from frostline.cli.tables import show_results
    from frostline.runs.folder import Run

    found = Run.load(run, output_dir)
    split = "test" if found.metrics["test"] else "val"
    recorded = found.metrics[split]
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.inference.classifier import evaluate_run

        results = evaluate_run(found, tta=tta, data=data, cache_dir=cache_dir, progress=screen.progress)
    now, averaged = results[split], f", averaged over {tta} views" if tta > 1 else ""
    screen.say("")
    show_results(screen, results, f"{found.name}: test split{averaged}")
    screen.say("", f"recorded when the run finished: {recorded['accuracy']:.4f}; now{averaged}: {now['accuracy']:.4f}")
    screen.say(f"validation accuracy{averaged}: {results['val']['accuracy']:.4f}")

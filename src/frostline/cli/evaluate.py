"""`frostline evaluate`."""

from pathlib import Path
from typing import Any

from frostline.cli.predict import RunName, Tta
from frostline.cli.settings import CacheDir, OutputDir, Quiet


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
    recorded: dict[str, Any] = found.metrics["test"]
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.runs.predict import evaluate_run

        results = evaluate_run(found, tta=tta, cache_dir=cache_dir, progress=screen.progress)
    test, averaged = results["test"], f", averaged over {tta} views" if tta > 1 else ""
    screen.say("")
    show_results(screen, results, f"{found.name}: test split{averaged}")
    screen.say("", f"recorded when the run finished: {recorded['accuracy']:.4f}; now{averaged}: {test['accuracy']:.4f}")
    screen.say(f"validation accuracy{averaged}: {results['val']['accuracy']:.4f}")

"""Results as tables on the screen."""

from typing import Any

from frostline.cli.console import Screen
from frostline.evaluation.metrics import most_confused

ALL_CLASSES = 30  # so many are printed in full
WORST_CLASSES = 20


def show_results(screen: Screen, results: dict[str, Any], title: str) -> None:
    """Print overall numbers of the test split, one line per class, and the most confused pairs.

    Without a test split these are the validation's, and it is said.
    """
    split = "test" if results["test"] else "val"
    test, calibration = results[split], results.get("calibration")
    if split == "val":
        title = "validation split"
        screen.say("there is no test split: nothing measured the accuracy on new images. Settings were chosen by the")
        screen.say("validation images, so these figures are too good:")
    low, high = test["accuracy_ci95"]
    overall = [
        ["accuracy", f"{test['accuracy']:.4f}"],
        ["  95 % interval", f"{low:.4f} - {high:.4f}"],
        ["loss", f"{test['loss']:.4f}"],
        ["top-5 accuracy", f"{test['top5_accuracy']:.4f}"],
        ["macro F1", f"{test['f1_macro']:.4f}"],
        ["ECE", f"{test['ece']:.4f}"],
        ["images", f"{test['images']:,}"],
    ]
    if calibration:
        overall.insert(-1, ["  uncalibrated", f"{calibration[split]['ece']['before']:.4f}"])
    screen.table([title, ""], overall)
    screen.say("")
    _show_classes(screen, test["per_class"])
    pairs = most_confused(test["confusion"], list(test["per_class"]))
    if pairs:
        screen.say("")
        screen.table(["most confused: truth", "taken for", "images"], [[a, b, str(n)] for a, b, n in pairs], left=2)


def _show_classes(screen: Screen, per_class: dict[str, dict[str, float]]) -> None:
    """Print a line for each class; of many the worst alone, and the mean."""
    columns = ["class", "precision", "recall", "F1", "images"]
    if len(per_class) <= ALL_CLASSES:
        screen.table(columns, [_class_row(name, line) for name, line in per_class.items()])
        return
    tested = {name: line for name, line in per_class.items() if line["support"]}
    worst = sorted(tested, key=lambda name: (tested[name]["f1"], -tested[name]["support"], name))[:WORST_CLASSES]
    mean = {key: sum(line[key] for line in tested.values()) / len(tested) for key in ("precision", "recall", "f1")}
    total = sum(line["support"] for line in tested.values())
    rows = [_class_row(name, tested[name]) for name in worst]
    rows.append(_class_row(f"mean of {len(tested):,} classes", mean | {"support": total}))
    screen.table(columns, rows, title=f"the {len(worst)} classes with the lowest F1 (metrics.json has all)")


def _class_row(name: str, line: dict[str, float]) -> list[str]:
    return [name, *(f"{line[key]:.4f}" for key in ("precision", "recall", "f1")), f"{line['support']:,}"]

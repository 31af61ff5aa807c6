"""Results as tables on the screen."""

from typing import Any

from frostline.cli.console import Screen
from frostline.evaluation.metrics import most_confused


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
    rows = [
        [name, f"{line['precision']:.4f}", f"{line['recall']:.4f}", f"{line['f1']:.4f}", f"{line['support']:,}"]
        for name, line in test["per_class"].items()
    ]
    screen.table(["class", "precision", "recall", "F1", "images"], rows)
    pairs = most_confused(test["confusion"], list(test["per_class"]))
    if pairs:
        screen.say("")
        screen.table(["most confused: truth", "taken for", "images"], [[a, b, str(n)] for a, b, n in pairs], left=2)

"""What a run plots and lists from Python."""

import shutil

import pytest
from matplotlib import pyplot

from frostline.errors import RunError
from frostline.runs.folder import Run
from tests.small_run import unfinish


@pytest.fixture(autouse=True)
def closed_figures():
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def test_curves_are_those_of_the_history(finished):
    accuracy, loss = finished.plot_curves()
    lines = {line.get_label(): line for line in accuracy.get_lines()}
    assert lines["validation"].get_ydata().tolist() == [epoch.val_accuracy for epoch in finished.history]
    assert lines["training"].get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    legend = [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert legend[:2] == ["training", "validation"]
    assert loss.get_title(loc="left") == "Loss"
    assert loss.figure.number in pyplot.get_fignums()


def test_confusion_is_that_of_the_test_split(finished):
    axes = finished.plot_confusion()
    test = finished.metrics["test"]
    assert axes.get_title(loc="left") == f"first: test accuracy {test['accuracy']:.4f}"
    shown, names = [label.get_text() for label in axes.get_yticklabels()], list(test["per_class"])
    assert sorted(shown) == sorted(names)
    numbers = {
        tuple(shown[round(place)] for place in reversed(text.get_position())): int(text.get_text())
        for text in axes.texts
    }
    expected = {(names[i], names[j]): n for i, row in enumerate(test["confusion"]) for j, n in enumerate(row) if n}
    assert numbers == expected


def test_axes_of_the_caller_are_used(finished):
    _, panels = pyplot.subplots(1, 3)
    assert finished.plot_confusion(panels[2]) is panels[2]
    finished.plot_curves(panels[:2])
    assert panels[1].get_title(loc="left") == "Loss"


def test_mistakes_are_all_wrong_predictions_and_the_surest_first(finished):
    found = finished.mistakes()
    test = finished.metrics["test"]
    assert len(found) == round((1 - test["accuracy"]) * test["images"])
    assert all(one["truth"] != one["predicted"] for one in found)
    assert [one["probability"] for one in found] == sorted((one["probability"] for one in found), reverse=True)
    assert all(one["truth_probability"] <= one["probability"] for one in found)
    names = list(test["per_class"])
    for one in found:
        assert test["confusion"][names.index(one["truth"])][names.index(one["predicted"])] > 0


def test_unfinished_run_has_nothing_to_plot(finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "stopped")
    unfinish(folder)
    for call in (Run(folder).plot_curves, Run(folder).plot_confusion, Run(folder).mistakes):
        with pytest.raises(RunError, match="run 'stopped' has no results yet"):
            call()

"""The specification of a learning curve, and its table, figure and summary."""

import math

import pytest
from PIL import Image

from frostline.errors import ConfigError, UnknownNameError
from frostline.studies.learning_curve_results import (
    ALL,
    CurvePoint,
    CurveSpec,
    check_spec,
    draw,
    interval,
    labels_needed,
    summarize,
    tabulate,
    write_table,
)  # fmt: skip

ACCURACY = {
    "frozen": {1: (0.5, 0.6), 10: (0.75, 0.77), 100: (0.86, 0.86), ALL: (0.93,)},
    "scratch": {1: (0.3, 0.35), 10: (0.6, 0.7), 100: (0.8, 0.84)},
}
POINTS = [
    CurvePoint(way, labels, repeat, value, 2.0, 7)
    for way, table in ACCURACY.items()
    for labels, values in table.items()
    for repeat, value in enumerate(values)
]
SPEC = CurveSpec(labels=(1, 10, 100, ALL), ways=("frozen", "scratch"), repeats=2)


def test_an_interval_is_students():
    mean, half = interval([0.7, 0.8, 0.9])
    assert mean == pytest.approx(0.8)
    assert half == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)
    assert math.isnan(interval([0.5])[1])


@pytest.mark.parametrize(
    ("way", "target", "kind", "number"),
    [
        ("frozen", 0.76, "about", 10),
        ("frozen", 0.81, "about", 10 * 10 ** (0.05 / 0.10)),
        ("frozen", 0.5, "at most", 1),
        ("frozen", 0.9, "more than", 100),  # reached with all labels: no number of labels
        ("scratch", 0.82, "about", 100),
    ],
)
def test_labels_are_interpolated_over_their_logarithm(way, target, kind, number):
    found = labels_needed(tabulate(POINTS), way, target)
    assert found == (kind, pytest.approx(number))


def test_the_summary_counts_labels_and_compares_on_the_same_images():
    lines = summarize(POINTS, SPEC)
    assert lines[0] == "For 80% accuracy, 'pre-trained, frozen' needs about 25 labels per class."
    assert lines[1] == "For 80% accuracy, 'from scratch' needs about 76 labels per class."
    assert lines[2] == "Pre-trained and frozen needs 3.0 times fewer labels than from scratch for 80%."
    assert lines[3].startswith(
        "With 1 label per class, 'pre-trained, frozen' is 22.5 points above 'from scratch' (95 %"
    )
    assert len(lines) == 6


def test_the_summary_reports_worse_results_too():
    swapped = [
        CurvePoint(
            {"frozen": "scratch", "scratch": "frozen"}[p.way], p.labels, p.repeat, p.accuracy, p.seconds, p.epochs
        )
        for p in POINTS
    ]
    lines = summarize(swapped, SPEC)
    assert "Pre-trained and frozen needs 3.0 times as many labels as from scratch for 80%." in lines
    assert lines[3].startswith("With 1 label per class, 'pre-trained, frozen' is 22.5 points below 'from scratch'")


def test_unreached_targets_are_bounds():
    few = [point for point in POINTS if point.labels != 100 or point.way == "frozen"]
    lines = summarize(few, CurveSpec(labels=(1, 10, 100), ways=("frozen", "scratch"), repeats=2, target=0.8))[:3]
    assert lines[1] == "For 80% accuracy, 'from scratch' needs more than 10 labels per class."
    assert not any("times" in line for line in lines)  # 25 against more than 10: no ratio follows


def test_the_table_is_read_back(tmp_path):
    write_table(tabulate(POINTS), tmp_path / "curve.csv")
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0] == "way,labels_per_class,repeats,accuracy,low_95,high_95,epochs_min,epochs_max,seconds"
    assert "frozen,all,1,0.9300,,,7,7,2.0" in lines
    assert len(lines) == 8
    # Student's t of 0.5 and 0.6: 0.55 ± 12.7062 * 0.05; on the logit scale 0.2007 ± 0.6353 / (0.55 * 0.45)
    assert "frozen,1,2,0.5500,0.0858,0.9409,7,7,2.0" in lines


def points(way, accuracies, labels=10, epochs=None):
    numbers = epochs or [7] * len(accuracies)
    return [
        CurvePoint(way, labels, repeat, value, 2.0, number)
        for repeat, (value, number) in enumerate(zip(accuracies, numbers, strict=True))
    ]


@pytest.mark.parametrize("accuracies", [(0.9, 1.0), (0.0, 0.02), (0.99, 1.0, 1.0), (0.5, 0.6), (1.0, 1.0), (0.0, 0.0)])
def test_intervals_stay_within_what_is_possible(accuracies):
    (cell,) = tabulate(points("frozen", accuracies))
    assert 0 <= cell.low <= cell.mean <= cell.high <= 1
    assert (cell.low < cell.high) == (len(set(accuracies)) > 1)
    apart = summarize(
        points("frozen", (1.0, 0.9)) + points("scratch", (0.0, 0.3)),
        CurveSpec(labels=(10,), ways=("frozen", "scratch")),
    )[-1]
    # 0.8 ± 12.7062 * 0.2; as a share 0.9 ± 1.2706, on the logit scale 2.1972 ± 14.1180
    assert apart.endswith("is 80.0 points above 'from scratch' (95 % interval -100.0 to +100.0).")


def test_cells_tell_their_epochs():
    (many,) = tabulate(points("scratch", (0.5, 0.6, 0.7), epochs=[8, 5, 6]))
    (one,) = tabulate(points("frozen", (0.5,), epochs=[100]))
    (closed,) = tabulate(points("frozen", (0.5,), epochs=[0]))
    assert [cell.epochs_text for cell in (many, one, closed)] == ["5–8", "100", "–"]
    assert many.accuracy_text == "0.6000 (0.3476 to 0.8085)" and one.accuracy_text == "0.5000"


def crossing(labels, reached=True):
    """Points of a way that reaches 80 % at so many labels per class, or not even with them."""
    return [(10, 0.6), (labels, 0.8 if reached else 0.7)]


@pytest.mark.parametrize(
    ("frozen", "scratch", "sentence"),
    [
        (crossing(100), crossing(100), "needs about the same number of labels as from scratch for 80%."),
        (crossing(100), crossing(104), "needs about the same number of labels as from scratch for 80%."),
        (crossing(104), crossing(100), "needs about the same number of labels as from scratch for 80%."),
        (crossing(100), crossing(110), "needs 1.1 times fewer labels than from scratch for 80%."),
        (crossing(110), crossing(100), "needs 1.1 times as many labels as from scratch for 80%."),
        (crossing(100), crossing(100, reached=False), "needs fewer labels than from scratch for 80%."),
        (
            crossing(100),
            crossing(200, reached=False),
            "needs more than 2.0 times fewer labels than from scratch for 80%.",
        ),
        ([(10, 0.9)], [(1, 0.1), (10, 0.8)], "needs no more labels than from scratch for 80%."),
        ([(10, 0.9)], crossing(20), "needs at least 2.0 times fewer labels than from scratch for 80%."),
    ],
)
def test_labels_of_both_ways_are_compared(frozen, scratch, sentence):
    spec = CurveSpec(ways=("frozen", "scratch"))
    measured = [
        CurvePoint(way, labels, 0, accuracy, 1.0, 1)
        for way, cells in (("frozen", frozen), ("scratch", scratch))
        for labels, accuracy in cells
    ]
    assert f"Pre-trained and frozen {sentence}" in summarize(measured, spec)


def test_equal_accuracy_is_neither_above_nor_below():
    measured = points("frozen", (0.5, 0.6)) + points("scratch", (0.6, 0.5))
    line = summarize(measured, CurveSpec(labels=(10,), ways=("frozen", "scratch")))[-1]
    assert line.startswith("With 10 labels per class, 'pre-trained, frozen' is as accurate as 'from scratch' (95 % int")


def test_targets_are_named_exactly():
    lines = summarize(points("frozen", (0.5,)), CurveSpec(labels=(10,), ways=("frozen",), target=0.925))
    assert lines == ["For 92.5% accuracy, 'pre-trained, frozen' needs more than 10 labels per class."]


def test_the_figure_is_an_image(tmp_path):
    draw(tabulate(POINTS), SPEC, "accuracy", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as image:
        assert image.width > 800


def test_points_of_every_way_and_number_of_labels():
    points = CurveSpec(labels=(1, 10), ways=("frozen", "scratch"), repeats=2).points()
    assert points == [(way, n, r) for way in ("frozen", "scratch") for n in (1, 10) for r in (0, 1)]


def test_all_labels_are_measured_once_and_for_quick_ways():
    spec = CurveSpec(labels=(1, ALL), repeats=3)
    with_all = [way for way, labels, _ in spec.points() if labels == ALL]
    assert with_all == ["pixels", "random-frozen", "frozen"]
    full = CurveSpec(labels=(1, ALL), repeats=3, full=True)
    assert len([way for way, labels, _ in full.points() if labels == ALL]) == 5


@pytest.mark.parametrize(
    ("changes", "error", "fault"),
    [
        ({"ways": ("frozn",)}, UnknownNameError, "Did you mean 'frozen'?"),
        ({"ways": ()}, ConfigError, "at least one of each"),
        ({"seconds": 0}, ConfigError, "--seconds-per-point must be above 0"),
        ({"target": 80}, ConfigError, "--target between 0 and 1"),
        ({"repeats": 0}, ConfigError, "--repeats must be 1 or more"),
    ],
)
def test_invalid_specifications_are_refused(changes, error, fault):
    with pytest.raises(error, match=fault):
        check_spec(CurveSpec(**changes))

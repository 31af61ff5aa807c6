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
    assert lines[0] == "way,labels_per_class,repeats,accuracy,half_width_95,seconds"
    assert "frozen,all,1,0.9300,,2.0" in lines
    assert len(lines) == 8


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

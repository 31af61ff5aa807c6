"""What held-out predictions say about labels and classes."""

import numpy as np

from frostline.evaluation.held_out import held_out_results, suspected_labels
from frostline.evaluation.metrics import Predictions

NAMES = ("cat", "dog", "fox")


def predictions(*rows: tuple[float, float, float], labels: list[int]) -> Predictions:
    return Predictions(np.array(rows, np.float32), np.array(labels))


def test_a_label_is_suspected_when_it_is_improbable_and_another_is_almost_sure() -> None:
    found = predictions(
        (0.90, 0.04, 0.06), (0.02, 0.97, 0.01), (0.70, 0.03, 0.27), (0.85, 0.10, 0.05), (0.96, 0.01, 0.03),
        labels=[1, 0, 1, 1, 1],
    )  # fmt: skip
    assert suspected_labels(found).tolist() == [4, 1, 0]  # the least probable label first


def test_results_count_classes_and_pairs_in_both_directions() -> None:
    found = predictions(
        (0.6, 0.3, 0.1), (0.3, 0.6, 0.1), (0.6, 0.3, 0.1), (0.1, 0.6, 0.3), (0.97, 0.02, 0.01),
        labels=[0, 0, 1, 2, 2],
    )  # fmt: skip
    assert held_out_results(found, NAMES, "image {}".format) == {
        "images": 5,
        "correct": 1,
        "per_class": {
            "cat": {"images": 2, "correct": 1}, "dog": {"images": 1, "correct": 0}, "fox": {"images": 2, "correct": 0}
        },
        "confused": [["cat", "dog", 2], ["dog", "fox", 1], ["cat", "fox", 1]],
        "suspected": [{"image": "image 4", "label": "fox", "predicted": "cat"}],
    }  # fmt: skip

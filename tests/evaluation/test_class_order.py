"""The order of classes by similarity."""

import numpy as np

from frostline.evaluation.class_order import order_by_similarity, row_shares


def test_confused_classes_become_neighbors() -> None:
    confusion = np.diag([20, 20, 20, 20, 20, 20])
    for a, b in ((0, 5), (1, 4), (2, 3)):
        confusion[a, b] = confusion[b, a] = 10
    order = order_by_similarity(confusion)
    assert sorted(order) == list(range(6))
    assert all(abs(order.index(a) - order.index(b)) == 1 for a, b in ((0, 5), (1, 4), (2, 3)))


def test_shares_count_and_not_images() -> None:
    confusion = [[900, 0, 90], [0, 8, 2], [0, 2, 8]]  # 90 of 990 are fewer than 2 of 10
    order = order_by_similarity(confusion)
    assert abs(order.index(1) - order.index(2)) == 1


def test_classes_without_mistakes_keep_their_order() -> None:
    assert order_by_similarity(np.diag([3, 2, 1, 5])) == [0, 1, 2, 3]
    assert order_by_similarity([[1, 2], [3, 4]]) == [0, 1]
    assert order_by_similarity([[7]]) == [0]


def test_class_without_images_has_no_share() -> None:
    assert row_shares([[0, 0], [1, 3]]).tolist() == [[0, 0], [0.25, 0.75]]
    assert sorted(order_by_similarity([[0, 0, 0], [1, 3, 0], [0, 1, 3]])) == [0, 1, 2]

"""Mini-batches and their order."""

import numpy as np
import pytest
import torch

from frostline.training.examples import Examples, Joined, balanced_weights, epoch_order


def test_batches_hold_every_row_once_with_its_label(narrow):
    train, _ = narrow
    order = epoch_order(len(train), seed=1, epoch=0)
    rows, labels = map(torch.cat, zip(*train.batches(100, order), strict=True))
    seen = np.concatenate([np.sort(order[start : start + 100]) for start in range(0, len(order), 100)])
    assert sorted(seen) == list(range(480))
    assert torch.equal(rows, train.rows.take(seen))
    assert labels.tolist() == train.labels[seen].tolist()


def test_batches_have_the_requested_size_and_a_remainder(narrow):
    sizes = [len(labels) for _, labels in narrow[0].batches(100)]
    assert sizes == [100, 100, 100, 100, 80]


def test_rows_are_float32_and_labels_int64(narrow):
    rows, labels = next(narrow[0].batches(7))
    assert (rows.dtype, labels.dtype) == (torch.float32, torch.int64)


def test_without_an_order_rows_come_as_they_stand(narrow):
    _, val = narrow
    labels = torch.cat([labels for _, labels in val.batches(50)])
    assert labels.tolist() == val.labels.tolist()


def test_an_order_of_some_rows_gives_only_those(narrow):
    train, _ = narrow
    (_, labels), *rest = train.batches(10, np.array([5, 3, 400]))
    assert labels.tolist() == train.labels[[3, 5, 400]].tolist()
    assert rest == []


def test_epoch_order_is_a_permutation_that_seed_and_epoch_decide():
    order = epoch_order(100, seed=3, epoch=2)
    assert sorted(order) == list(range(100))
    assert (order == epoch_order(100, seed=3, epoch=2)).all()
    assert (order != epoch_order(100, seed=3, epoch=3)).any()
    assert (order != epoch_order(100, seed=4, epoch=2)).any()


def test_length_is_the_number_of_labels(narrow):
    train, val = narrow
    assert (len(train), len(val)) == (480, 120)
    assert isinstance(train, Examples)


def test_epochs_go_round_the_views(narrow):
    train, val = narrow
    other = Examples(val.rows, val.labels).rows
    viewed = Examples(train.rows, train.labels, (other, train.rows))
    assert [viewed.in_epoch(epoch).rows is rows for epoch, rows in enumerate([train.rows, other, train.rows] * 2)] == [
        True
    ] * 6
    assert train.in_epoch(7) is train
    assert viewed.in_epoch(1).labels is train.labels


def test_joined_rows_are_the_parts_one_after_the_other(narrow):
    train, val = (examples.rows for examples in narrow)
    both = Joined([train, val])
    assert len(both) == len(train) + len(val) and both.shape == train.shape
    wanted = np.array([len(train), 3, len(both) - 1, 0, len(train) - 1])
    expected = [train.take(np.array([3, 0, len(train) - 1])), val.take(np.array([0, len(val) - 1]))]
    assert torch.equal(both.take(wanted), torch.cat(expected)[[3, 0, 4, 1, 2]])
    assert torch.equal(both.take(np.array([5, 2])), train.take(np.array([5, 2])))


def test_balanced_weights_make_classes_count_alike_and_average_to_one():
    labels = np.array([0, 0, 0, 0, 0, 0, 2, 2, 2])  # class 1 is missing
    weights = balanced_weights(labels, 3)
    assert weights.tolist() == pytest.approx([0.75, 0.0, 1.5])
    examples = Examples(torch.zeros(9, 1), labels, class_weights=weights)
    assert examples.weights.mean() == pytest.approx(1.0)
    assert examples.weights[:6].sum() == pytest.approx(float(examples.weights[6:].sum()))
    assert Examples(torch.zeros(9, 1), labels).weights.tolist() == [1.0] * 9


def test_views_have_the_weights_of_their_classes():
    labels, rows = np.array([0, 1, 1]), torch.zeros(3, 1)
    examples = Examples(rows, labels, (rows,), balanced_weights(labels, 2))
    assert torch.equal(examples.in_epoch(1).weights, examples.weights)

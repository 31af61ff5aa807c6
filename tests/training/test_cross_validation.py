"""Cross-validation: even folds of whole groups, and out-of-fold logits."""

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedKFold

from frostline.training.cross_validation import NEVER, STRENGTHS, draw_folds, out_of_fold, ridge_out_of_fold
from frostline.training.trainer import Recipe, predict_logits, train

RECIPE = Recipe(epochs=6, batch_size=64, lr=1e-3, seed=0, patience=6)


def test_folds_are_even_in_every_class_and_repeatable():
    labels = np.repeat([0, 1, 2], [50, 30, 5])
    folds = draw_folds(labels, np.arange(85), 5, 0)
    assert [np.bincount(folds[labels == label], minlength=5).tolist() for label in range(3)] == [
        [10] * 5, [6] * 5, [1] * 5
    ]  # fmt: skip
    assert np.array_equal(folds, draw_folds(labels, np.arange(85), 5, 0))
    assert not np.array_equal(folds, draw_folds(labels, np.arange(85), 5, 1))


def test_a_group_stays_in_one_fold():
    groups = np.arange(60) // 3
    folds = draw_folds(np.arange(60) % 2, groups, 5, 0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(20))


def test_no_head_is_trained_on_its_own_fold(narrow):
    examples, _ = narrow
    folds = draw_folds(examples.labels, np.arange(len(examples)), 5, 0)
    before = out_of_fold(examples, folds, 10, RECIPE)
    labels = examples.labels.copy()
    labels[folds == 2] = (labels[folds == 2] + 1) % 10
    after = out_of_fold(type(examples)(examples.rows, labels), folds, 10, RECIPE)
    assert torch.equal(before[folds == 2], after[folds == 2])
    assert not torch.equal(before[folds == 1], after[folds == 1])


def test_examples_of_no_fold_teach_nothing(narrow):
    examples, _ = narrow
    folds = draw_folds(examples.labels, np.arange(len(examples)), 3, 0)
    folds[:50] = NEVER
    before = out_of_fold(examples, folds, 10, RECIPE)
    labels = examples.labels.copy()
    labels[:50] = 0
    assert torch.equal(before, out_of_fold(type(examples)(examples.rows, labels), folds, 10, RECIPE))


def test_accuracy_is_close_to_one_head_trained_on_the_others(narrow, make_head):
    examples, val = narrow
    folds = draw_folds(examples.labels, np.arange(len(examples)), 5, 0)
    right = out_of_fold(examples, folds, 10, RECIPE).argmax(1).numpy() == examples.labels
    head = make_head(examples, "linear")
    train(head, examples, None, RECIPE, quiet=True)
    alone = predict_logits(head, val).argmax(1).numpy() == val.labels
    assert abs(right.mean() - alone.mean()) < 0.1


def test_closed_form_scores_are_those_of_a_head_fitted_without_the_fold():
    rng = np.random.default_rng(0)
    rows, labels = torch.from_numpy(rng.normal(size=(30, 40))), np.arange(30) % 3
    rows[:, 0] += torch.from_numpy(labels)
    scores = ridge_out_of_fold(rows, labels, None)
    scaled = ((rows - rows.mean(0)) / rows.std(0, correction=0)).numpy()
    strengths = [strength * np.square(scaled).sum(1).mean() for strength in STRENGTHS]
    parts = list(StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels))
    fitted = []
    for strength in strengths:
        found = np.empty((30, 3))
        for known, held_out in parts:
            head = RidgeClassifier(strength).fit(scaled[known], labels[known])
            found[held_out] = head.decision_function(scaled[held_out])
        fitted.append(found)
    assert any(np.allclose(scores, found) for found in fitted)


def test_one_image_of_each_class_is_too_little_for_folds():
    labels = np.array([0, 1])
    assert ridge_out_of_fold(torch.eye(2), labels, None) is None
    assert ridge_out_of_fold(torch.eye(2), labels, np.array([0, 1])) is None

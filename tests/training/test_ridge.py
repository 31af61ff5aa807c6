"""The ridge head against scikit-learn, and the selection on validation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import solve_triangular
from sklearn.linear_model import Ridge

from frostline.errors import ConfigError
from frostline.models.heads import Head, HeadSpec
from frostline.training.examples import Chosen, Examples, balanced_weights
from frostline.training.ridge import PRIOR_FLOOR, STRENGTHS, WithinClassPenalty, solve
from frostline.training.trainer import measure, predict_logits


def standardized(head, examples):
    rows = examples.rows.take(np.arange(len(examples))).flatten(1)
    return ((rows - head.mean) * head.scale).double().numpy()


def reference(head, train, strength):
    """scikit-learn's ridge with the alpha of a relative strength."""
    seen = [train.in_epoch(number) for number in range(1 + len(train.views))]
    x = np.concatenate([standardized(head, part) for part in seen])
    weights = np.tile(train.weights.double().numpy(), len(seen))
    centered = (x - np.average(x, 0, weights)) * np.sqrt(weights)[:, None]
    rows_are_fewer = x.shape[0] < x.shape[1]
    diagonal = (centered**2).sum(1 if rows_are_fewer else 0)
    targets = np.tile(np.eye(10)[train.labels], (len(seen), 1))
    return Ridge(alpha=strength * diagonal.mean()).fit(x, targets, sample_weight=weights)


@pytest.fixture(params=["narrow", "wide"])
def parts(request):
    return request.getfixturevalue(request.param)


def test_there_are_fewer_rows_than_features_in_one_case_alone(narrow, wide):
    assert len(narrow[0]) > np.prod(narrow[0].rows.shape)
    assert len(wide[0]) < np.prod(wide[0].rows.shape)


def test_it_equals_scikit_learn(parts, make_head):
    head = make_head(parts[0], "ridge")
    solved = solve(head, *parts)
    expected = reference(head, parts[0], solved.strength).predict(standardized(head, parts[1]))
    found = predict_logits(head, parts[1]).numpy() * solved.temperature
    assert np.abs(found - expected).max() < 2e-3
    assert solved.val_accuracy == pytest.approx((expected.argmax(1) == parts[1].labels).mean(), abs=1e-6)
    assert solved.val_accuracy > 0.6


def test_balanced_classes_equal_scikit_learns_sample_weights(parts, make_head):
    kept = np.flatnonzero((parts[0].labels > 2) | (np.arange(len(parts[0])) % 5 == 0))  # three rare classes
    labels = parts[0].labels[kept]
    weights = balanced_weights(labels, 10)
    train = Examples(Chosen(parts[0].rows, kept), labels, class_weights=weights)
    val = replace(parts[1], class_weights=weights)
    head = make_head(train, "ridge")
    solved = solve(head, train, val)
    expected = reference(head, train, solved.strength).predict(standardized(head, val))
    found = predict_logits(head, val).numpy() * solved.temperature
    assert np.abs(found - expected).max() < 2e-3
    plain = make_head(train, "ridge")
    solve(plain, replace(train, class_weights=None), replace(val, class_weights=None))
    rare = val.labels <= 2
    hits, hits_before = (predict_logits(one, val).argmax(1).numpy() == val.labels for one in (head, plain))
    assert hits[rare].mean() >= hits_before[rare].mean()


def test_a_prior_is_ridge_on_features_that_are_divided_by_its_root(parts, make_head):
    train, val = parts
    head = make_head(train, "ridge")
    prior = Examples(Chosen(val.rows, np.arange(60)), np.arange(60) // 6)
    solved = solve(head, train, val, prior=prior)
    penalty = (
        WithinClassPenalty(torch.from_numpy(standardized(head, prior)).float(), prior.labels).matrix().double().numpy()
    )
    root = np.linalg.cholesky(penalty)
    x = standardized(head, train)
    centered, divided = x - x.mean(0), solve_triangular(root, x.T, lower=True).T
    rows_are_fewer = x.shape[0] < x.shape[1]
    diagonal = ((divided - divided.mean(0)) ** 2).sum(1) if rows_are_fewer else (centered**2).sum(0)
    reference = Ridge(alpha=solved.strength * diagonal.mean()).fit(divided, np.eye(10)[train.labels])
    expected = reference.predict(solve_triangular(root, standardized(head, val).T, lower=True).T)
    found = predict_logits(head, val).numpy() * solved.temperature
    assert np.abs(found - expected).max() < 5e-3
    solve(plain := make_head(train, "ridge"), train, val)
    assert within_objects(head, prior) < within_objects(plain, prior)


def within_objects(head, prior):
    """The share of the scores' variance that is between images of one object."""
    scores = predict_logits(head, prior)
    of_objects = torch.stack([scores[torch.from_numpy(prior.labels == number)].mean(0) for number in range(10)])
    return ((scores - of_objects[prior.labels]).var() / scores.var()).item()


def test_views_count_as_further_images(parts, make_head):
    train, val = parts
    of_class = {label: np.flatnonzero(train.labels == label) for label in range(10)}
    another = np.array([of_class[label][number % len(of_class[label])] for number, label in enumerate(train.labels)])
    views = replace(train, views=(Chosen(train.rows, another),))
    head = make_head(train, "ridge")
    solved = solve(head, views, val)
    expected = reference(head, views, solved.strength).predict(standardized(head, val))
    found = predict_logits(head, val).numpy() * solved.temperature
    assert np.abs(found - expected).max() < 2e-3
    solve(plain := make_head(train, "ridge"), train, val)
    assert not torch.equal(plain.first.weight, head.first.weight)


@pytest.mark.parametrize("count", [None, 12])
def test_the_strength_has_the_least_error_of_those_that_are_as_accurate(parts, make_head, caplog, count):
    train, every = parts
    val = Examples(Chosen(every.rows, np.arange(len(every))[:count]), every.labels[:count])
    head = make_head(train, "ridge")
    with caplog.at_level("DEBUG", logger="frostline"):
        solved = solve(head, train, val)
    assert f"of {len(STRENGTHS) + 2} tried" in caplog.text
    x, right, error = standardized(head, val), {}, {}
    for strength in {*STRENGTHS, solved.strength}:
        scores = reference(head, train, strength).predict(x)
        right[strength] = (scores.argmax(1) == val.labels).sum()
        error[strength] = ((scores - np.eye(10)[val.labels]) ** 2).mean()
    most = max(right.values())
    assert len(set(right.values())) > 1
    assert right[solved.strength] >= most - 2  # single precision may decide one image otherwise
    assert error[solved.strength] <= min(error[strength] for strength in right if right[strength] == most) * 1.001
    assert any(abs(np.log10(solved.strength / strength)) < 0.51 for strength in STRENGTHS)


def test_the_temperature_lowers_the_loss_and_changes_no_decision(parts, make_head):
    head = make_head(parts[0], "ridge")
    solved = solve(head, *parts)
    warm = predict_logits(head, parts[1])
    with torch.no_grad():
        head.first.weight.mul_(solved.temperature)
        head.first.bias.mul_(solved.temperature)
    raw_loss, raw_accuracy = measure(head, parts[1])
    assert solved.val_loss < raw_loss - 0.1
    assert raw_accuracy == pytest.approx(solved.val_accuracy)
    assert torch.equal(predict_logits(head, parts[1]).argmax(1), warm.argmax(1))


def test_reported_metrics_are_those_of_the_head(parts, make_head):
    head = make_head(parts[0], "ridge")
    solved = solve(head, *parts)
    assert measure(head, parts[0]) == (solved.train_loss, solved.train_accuracy)
    assert measure(head, parts[1]) == (solved.val_loss, solved.val_accuracy)
    assert solved.seconds > 0


class Constant:
    """Rows without information."""

    shape = (8,)

    def __len__(self):
        return 40

    def take(self, indices):
        return torch.full((len(indices), 8), 3.0)


def test_constant_rows_have_no_solution():
    head = Head(HeadSpec("ridge", 8, 10))
    head.standardize(torch.full((8,), 3.0), torch.ones(8))
    examples = Examples(Constant(), np.arange(40) % 10)
    with pytest.raises(ConfigError, match="ridge found no solution: the features are constant"):
        solve(head, examples, examples)


OBJECTS = np.arange(60) % 12


def varied_features(rows, columns=40, seed=0):
    return torch.from_numpy(
        np.random.default_rng(seed).normal(size=(rows, columns)) * np.arange(1, columns + 1)
    ).float()


def expected_penalty(rows, floor=PRIOR_FLOOR):
    x = rows.double().numpy().copy()
    for number in set(OBJECTS):
        x[number == OBJECTS] -= x[number == OBJECTS].mean(0)
    covariance = x.T @ x / len(x)
    return np.eye(x.shape[1]) + covariance / (floor * covariance.trace() / len(covariance))


def test_the_matrix_is_the_identity_and_the_covariance_within_objects():
    for floor in (0.1, PRIOR_FLOOR, 10):
        found = WithinClassPenalty(varied_features(60), OBJECTS, floor).matrix().double().numpy()
        np.testing.assert_allclose(found, expected_penalty(varied_features(60), floor), rtol=1e-4, atol=1e-4)


def test_solving_is_dividing_by_the_matrix():
    for columns in (40, 200):  # fewer numbers than drawn images, and more
        rows, x = varied_features(60, columns), varied_features(7, columns, seed=1)
        found = WithinClassPenalty(rows, OBJECTS).solve(x).double().numpy()
        np.testing.assert_allclose(found @ expected_penalty(rows), x.double().numpy(), rtol=1e-3, atol=0.05)


def test_variation_between_objects_is_not_penalized():
    rows = torch.from_numpy(OBJECTS[:, None] * np.ones(40)).float() + 1e-3 * varied_features(60)
    np.testing.assert_allclose(
        WithinClassPenalty(rows, OBJECTS).matrix(), expected_penalty(1e-3 * varied_features(60)), rtol=1e-2, atol=1e-2
    )


def test_features_that_never_vary_leave_the_identity():
    rows = torch.from_numpy(OBJECTS[:, None] * np.ones(40)).float()
    assert torch.equal(WithinClassPenalty(rows, OBJECTS).matrix(), torch.eye(40))
    assert torch.equal(WithinClassPenalty(rows, OBJECTS).solve(varied_features(7)), varied_features(7))

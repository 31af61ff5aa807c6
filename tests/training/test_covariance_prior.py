"""The penalty that drawn objects' variation makes, against its definition in double precision."""

import numpy as np
import torch

from frostline.training.covariance_prior import FLOOR, WithinClassPenalty

OBJECTS = np.arange(60) % 12


def features(rows, columns=40, seed=0):
    return torch.from_numpy(
        np.random.default_rng(seed).normal(size=(rows, columns)) * np.arange(1, columns + 1)
    ).float()


def expected(rows, floor=FLOOR):
    x = rows.double().numpy().copy()
    for number in set(OBJECTS):
        x[number == OBJECTS] -= x[number == OBJECTS].mean(0)
    covariance = x.T @ x / len(x)
    return np.eye(x.shape[1]) + covariance / (floor * covariance.trace() / len(covariance))


def test_the_matrix_is_the_identity_and_the_covariance_within_objects():
    for floor in (0.1, FLOOR, 10):
        found = WithinClassPenalty(features(60), OBJECTS, floor).matrix().double().numpy()
        np.testing.assert_allclose(found, expected(features(60), floor), rtol=1e-4, atol=1e-4)


def test_solving_is_dividing_by_the_matrix():
    for columns in (40, 200):  # fewer numbers than drawn images, and more
        rows, x = features(60, columns), features(7, columns, seed=1)
        found = WithinClassPenalty(rows, OBJECTS).solved(x).double().numpy()
        np.testing.assert_allclose(found @ expected(rows), x.double().numpy(), rtol=1e-3, atol=0.05)


def test_what_tells_objects_apart_is_no_variation_within_them():
    rows = torch.from_numpy(OBJECTS[:, None] * np.ones(40)).float() + 1e-3 * features(60)
    np.testing.assert_allclose(
        WithinClassPenalty(rows, OBJECTS).matrix(), expected(1e-3 * features(60)), rtol=1e-2, atol=1e-2
    )


def test_features_that_never_vary_leave_the_identity():
    rows = torch.from_numpy(OBJECTS[:, None] * np.ones(40)).float()
    assert torch.equal(WithinClassPenalty(rows, OBJECTS).matrix(), torch.eye(40))
    assert torch.equal(WithinClassPenalty(rows, OBJECTS).solved(features(7)), features(7))

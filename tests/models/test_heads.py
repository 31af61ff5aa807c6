"""The folded standardization of heads equals the explicit one, forward and backward."""

import json

import pytest
import torch
from torch import nn

from frostline.models.heads import Head, HeadSpec

FEATURES, CLASSES, ROWS = 30, 4, 50


def rows() -> torch.Tensor:
    torch.manual_seed(0)
    spread = torch.logspace(-2, 2, FEATURES)
    return torch.randn(ROWS, FEATURES) * spread + 3 * spread


def made(kind: str) -> Head:
    """A head with random weights and the rows' own moments, in eval mode: no dropout."""
    torch.manual_seed(1)
    head = Head(HeadSpec(kind, FEATURES, CLASSES, hidden_width=16)).eval()
    nn.init.normal_(head.first.weight, std=0.3)
    nn.init.normal_(head.first.bias)
    head.standardize(rows().mean(0), rows().std(0))
    return head


def explicit(head: Head, x: torch.Tensor) -> torch.Tensor:
    """Standardize a copy of the batch, then apply the layers."""
    logits: torch.Tensor = head.rest(head.first((x.flatten(1) - head.mean) * head.scale))
    return logits


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_folded_values_equal_explicit_ones(kind: str) -> None:
    head = made(kind)
    torch.testing.assert_close(head(rows()), explicit(head, rows()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_folded_gradients_equal_explicit_ones(kind: str) -> None:
    head = made(kind).double()
    labels = torch.arange(ROWS) % CLASSES
    gradients = []
    for logits in (head(rows().double()), explicit(head, rows().double())):
        head.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        gradients.append([parameter.grad.clone() for parameter in head.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(list(head.parameters()))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_spread_is_one_and_near_constant_features_stay_quiet() -> None:
    head = Head(HeadSpec("linear", 3, 2))
    head.standardize(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 0.0]))
    quiet = 0.05 * 1.0  # a twentieth of the mean spread
    assert head.scale.tolist() == pytest.approx([1 / (1 + quiet), 1 / (2 + quiet), 1 / quiet])
    assert head.mean.tolist() == [1, 2, 3]


def test_constant_features_give_finite_numbers() -> None:
    head = made("linear")
    head.standardize(torch.full((FEATURES,), 2.0), torch.zeros(FEATURES))
    assert torch.isfinite(head(torch.full((5, FEATURES), 2.0))).all()


@pytest.mark.parametrize("kind", ["linear", "ridge"])
def test_linear_head_starts_undecided(kind: str) -> None:
    assert Head(HeadSpec(kind, FEATURES, CLASSES))(rows()).abs().max() == 0


def test_maps_are_flattened() -> None:
    head = Head(HeadSpec("linear", 2 * 3 * 3, CLASSES))
    assert head(torch.rand(7, 2, 3, 3)).shape == (7, CLASSES)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("linear", FEATURES * CLASSES + CLASSES),
        ("mlp", FEATURES * 16 + 16 + 16 * CLASSES + CLASSES),
    ],
)
def test_trainable_parameters_are_the_layers_alone(kind: str, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in made(kind).parameters()) == parameters


def test_mean_and_scale_travel_with_the_weights() -> None:
    head, other = made("mlp"), Head(HeadSpec("mlp", FEATURES, CLASSES, hidden_width=16)).eval()
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other(rows()), head(rows()))


def test_dropout_works_in_training_alone() -> None:
    head, x = made("mlp"), rows()
    torch.testing.assert_close(head(x), head(x))
    head.train()
    assert not torch.equal(head(x), head(x))


def test_spec_survives_json() -> None:
    spec = HeadSpec("mlp", 9216, 10, hidden_width=64, dropout=0.25)
    assert HeadSpec(**json.loads(json.dumps(spec.to_dict()))) == spec

"""Mixup and cutmix: rows and labels are mixed in the same shares."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from frostline.training.examples import mix
from frostline.training.trainer import train

LABELS = torch.arange(6)
MAPS = torch.arange(6.0)[:, None, None, None].expand(6, 3, 8, 8)  # every number of a map says whose it is


def draw(seed=0):
    return np.random.default_rng(seed)


def test_batch_is_unchanged_without_mixing():
    batch = mix(MAPS, LABELS, 0.0, 0.0, draw())
    assert batch.rows is MAPS and batch.labels is LABELS and batch.share == 1


@pytest.mark.parametrize("rows", [MAPS, torch.arange(6.0)[:, None].expand(6, 5)])
def test_mixup_blends_by_the_share_of_the_labels(rows):
    batch = mix(rows, LABELS, 1.0, 0.0, draw(3))
    assert 0 < batch.share < 1
    expected = batch.share * batch.labels + (1 - batch.share) * batch.others
    assert torch.allclose(batch.rows.flatten(1).mean(1), expected, atol=1e-5)
    assert sorted(batch.others.tolist()) == LABELS.tolist() and not torch.equal(batch.others, LABELS)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_areas_match_the_label_shares(seed):
    batch = mix(MAPS, LABELS, 0.0, 1.0, draw(seed))
    for row, label, other in zip(batch.rows, batch.labels, batch.others, strict=True):
        of_other = (row[0] == other) if other != label else torch.zeros(8, 8, dtype=torch.bool)
        if other != label:
            assert of_other.float().mean().item() == pytest.approx(1 - batch.share)
        assert set(row.unique().tolist()) <= {float(label), float(other)}
        assert torch.equal(row[0], row[2])
    assert torch.equal(MAPS[:, 0, 0, 0], torch.arange(6.0))  # the batch that came in is not touched


def test_with_both_each_gets_its_turn():
    kinds = {len(mix(MAPS, LABELS, 1.0, 1.0, draw(seed)).rows[0].unique()) for seed in range(20)}
    assert kinds == {1, 2}


def test_the_loss_is_that_of_soft_labels():
    batch = mix(MAPS, LABELS, 1.0, 0.0, draw(1))
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    soft = batch.share * F.one_hot(batch.labels, 6) + (1 - batch.share) * F.one_hot(batch.others, 6)
    expected = F.cross_entropy(logits, soft.float(), label_smoothing=0.1)
    assert batch.loss(logits, 0.1).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_head_learns_from_mixed_rows(narrow, make_head, make_recipe):
    plain = train(make_head(narrow[0]), *narrow, make_recipe(epochs=8))
    mixed = train(make_head(narrow[0]), *narrow, make_recipe(epochs=8, mixup=0.4))
    assert mixed.history[-1].val_accuracy > 0.6
    assert mixed.history[-1].train_loss > plain.history[-1].train_loss


def test_class_weights_weigh_the_loss():
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 0, 0, 1, 2])
    weights = torch.tensor([0.5, 2.0, 2.0])
    own = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    expected = (own * weights[labels]).sum() / weights[labels].sum()
    batch = mix(torch.zeros(6, 2), labels, 0.0, 0.0, np.random.default_rng(0))
    torch.testing.assert_close(batch.loss(logits, 0.0, weights), expected)

"""Counter-based random numbers."""

import torch

from frostline._utils.rng import Stream, hash32


def test_the_hash_is_a_bijection_on_a_stretch_of_numbers():
    values = torch.arange(200_000)
    assert len(hash32(values).unique()) == len(values)
    assert hash32(values).min() >= 0 and hash32(values).max() < 2**32


def test_numbers_do_not_depend_on_the_neighbors():
    together = Stream(3, torch.arange(50)).uniform(7)
    alone = Stream(3, torch.tensor([17])).uniform(7)
    assert torch.equal(together[17:18], alone)


def test_numbers_do_not_depend_on_how_they_are_requested():
    index = torch.arange(9)
    once = Stream(5, index).uniform(300)
    stream = Stream(5, index)
    assert torch.equal(torch.cat([stream.uniform(100), stream.uniform(13, 10).flatten(1), stream.uniform(70)], 1), once)


def test_seeds_and_images_give_other_numbers():
    index = torch.arange(1000)
    numbers = torch.cat([Stream(seed, index).uniform(4) for seed in (0, 1, 2**40)])
    assert len(numbers.unique(dim=0)) == 3000


def test_uniform_is_uniform_and_columns_are_independent():
    numbers = Stream(11, torch.arange(20_000)).uniform(8)
    histogram = torch.stack([torch.histc(column, 10, 0, 1) for column in numbers.T])
    assert (histogram / 2000 - 1).abs().max() < 0.12  # 5 standard deviations of a count of 2,000
    correlation = torch.corrcoef(numbers.T) - torch.eye(8)
    assert correlation.abs().max() < 0.04
    assert numbers.min() >= 0 and numbers.max() < 1


def test_normal_below_and_chance_have_their_distributions():
    stream = Stream(2, torch.arange(20_000))
    normal = stream.normal(2)
    assert normal.isfinite().all()
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.03
    dice = stream.below(6)
    assert dice.dtype == torch.int64 and set(dice.tolist()) == set(range(6))
    assert abs(stream.chance(0.3).float().mean() - 0.3) < 0.02


def test_range_is_kept():
    numbers = Stream(0, torch.arange(5000)).uniform(low=-2, high=3)
    assert numbers.shape == (5000,)
    assert -2 <= numbers.min() < -1.9 and 2.9 < numbers.max() <= 3

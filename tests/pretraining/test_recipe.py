"""Image sizes, learning rates and budgets of a recipe."""

import json

import pytest

from tools.pretraining.recipe import Budget, Phase, Recipe


def test_sizes_follow_the_phases():
    recipe = Recipe(phases=(Phase(0.0, 64), Phase(0.5, 96), Phase(0.8, 128)))
    assert [recipe.size(done) for done in (0, 0.49, 0.5, 0.79, 0.8, 1)] == [64, 64, 96, 96, 128, 128]


def test_the_learning_rate_climbs_and_falls_to_nothing():
    recipe = Recipe(lr=1.0, warm_up=10)
    assert recipe.learning_rate(0, 0) == pytest.approx(0.1)
    assert recipe.learning_rate(500, 0.5) == pytest.approx(0.5)
    assert recipe.learning_rate(1000, 1) == pytest.approx(0, abs=1e-9)


def test_budgets_count_images_or_minutes():
    assert Budget(images=200).done(images=50, seconds=1e9) == 0.25
    assert Budget(minutes=2).done(images=10**9, seconds=30) == 0.25


def test_a_recipe_is_json():
    assert json.loads(json.dumps(Recipe().to_dict()))["program"]["classes"] == Recipe().program.classes

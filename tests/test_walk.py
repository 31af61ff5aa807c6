"""How far a run's settings travel."""

from tests.walk import walk


def test_few_functions_are_handed_the_settings_of_a_run():
    functions, modules, steps_up = walk("frostline.runs.fit", "fit", "config", attributes=False).counts
    assert functions <= 40
    assert modules <= 15
    assert steps_up <= 6


def test_what_is_read_from_the_settings_does_not_travel_far():
    functions, modules, steps_up = walk("frostline.runs.fit", "fit", "config").counts
    assert functions <= 75
    assert modules <= 27
    assert steps_up <= 32


def test_the_walk_follows_names_attributes_copies_and_properties():
    found = {".".join(stay) for stay in walk("frostline.runs.fit", "fit", "config").stays}
    assert "frostline.pipeline.resolve.check.config" in found  # a name
    assert "frostline.data.registry.data_name.name" in found  # config.data
    assert "frostline.pipeline.phases.with_defaults.config" in found  # config.model_copy(…)
    assert "frostline.pipeline.phases.plan_phases.config" in found  # self.config, in a property of the plan
    assert "frostline.pipeline.train.make_head.settings" not in found

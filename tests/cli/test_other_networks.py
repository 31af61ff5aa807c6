"""`--model timm:NAME` and `torchvision:NAME` on the command line."""

import pytest
import torch

from frostline.models.external import PACKAGES


def test_weights_file_of_another_network(frostline, small_fashion, tmp_path):
    torch.save(PACKAGES["torchvision"].make("mobilenet_v3_small", seed=1).state_dict(), tmp_path / "net.pth")
    small = ["--data-dir", small_fashion, "--limit", 120, "--val-fraction", 0.2, "--epochs", 1, "--image-size", 32]
    done = frostline(
        "train", "fashion-mnist", "--model", "torchvision:mobilenet_v3_small", "--weights", "net.pth", *small
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "weights: weights from net.pth, as requested" in done.stdout
    assert (
        "torchvision:mobilenet_v3_small at 32 px, frozen up to features_12, linear head on features_12" in done.stdout
    )
    done = frostline("evaluate", "fashion-mnist-1")
    assert (done.returncode, done.stderr) == (0, "")


def test_short_name_trains_resumes_and_is_recorded_in_full(frostline, small_fashion):
    command = ["train", "fashion-mnist", "--model", "mobilenet_v3_small", "--weights", "random", "--name", "short"]
    small = ["--data-dir", small_fashion, "--limit", 120, "--val-fraction", 0.2, "--epochs", 1, "--image-size", 32]
    done = frostline(*command, *small, "--no-report")
    assert (done.returncode, done.stderr) == (0, "")
    assert "torchvision:mobilenet_v3_small at 32 px" in done.stdout
    done = frostline(*command, *small, "--resume", "--no-report")
    assert (done.returncode, done.stderr) == (0, "")
    assert "run 'short' is finished already" in done.stdout


def test_list_and_show(frostline):
    done = frostline("models", "list", "timm:resnet1*")
    assert (done.returncode, done.stderr) == (0, "")
    assert "timm:resnet18" in done.stdout.splitlines()
    done = frostline("models", "show", "timm:resnet18", "--image-size", 64, "--freeze", "layer2")
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split("  ")[0]: line.split() for line in done.stdout.splitlines()}
    assert lines["layer2"][1:7] == ["128", "x", "8", "x", "8", "frozen"]
    assert lines["layer3"][6] == "thawed"


def test_unavailable_weights_are_one_clear_line(frostline, small_fashion):
    done = frostline("train", "fashion-mnist", "--data-dir", small_fashion, "--model", "timm:resnet18")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("pass a file that contains them with --weights PATH, or start from --weights random.")


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_missing_package_is_one_clear_line(installed, tmp_path, package):
    # Hides an installed package from the process.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        f"hidden, known = '{package}', importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == hidden else known(name, package)\n"
    )
    done = installed("train", "fashion-mnist", "--model", f"{package}:resnet18", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{package} is not installed: `pip install 'frostline[{package}]'`" in line
    assert package in installed("models", "list", env={"PYTHONPATH": str(tmp_path)}).stdout

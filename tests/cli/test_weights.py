"""`--weights`: torchvision's layout, and untrusted files."""

import os
import pickle

import pytest
import torch

from frostline.runs.bundle import load_bundle
from frostline.runs.folder import Run
from tests.reference import save_features


@pytest.fixture
def train(frostline, small_fashion):
    def run(weights, *options):
        fixed = ["--data-dir", small_fashion, "--limit", 120, "--val-fraction", 0.2, "--epochs", 1]
        fixed += ["--image-size", 64, "--taps", "none"]
        return frostline("train", "fashion-mnist", *fixed, "--weights", weights, *options)

    return run


def test_pth_in_torchvisions_layout(train, tmp_path):
    network = save_features(tmp_path / "mine.pth")
    done = train("mine.pth", "--name", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert "weights: weights from mine.pth, as requested (SHA-256 " in done.stdout
    run = Run.load("mine", tmp_path / "runs")
    stages = load_bundle(run.model_folder).backbone.stages
    assert torch.equal(stages["conv1"][0].weight, network.features[0].weight)
    assert torch.equal(stages["conv5"][0].bias, network.features[10].bias)
    assert run.metrics["weights"]["name"] == "mine.pth"


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_malicious_pickle_is_refused_and_not_executed(train, tmp_path, form):
    marker, path = tmp_path / "marker", tmp_path / "evil.pth"
    harm = {"features.0.weight": Malicious(marker)}
    if form == "torch":
        torch.save(harm, path)
    else:
        path.write_bytes(pickle.dumps(harm))
    done = train("evil.pth")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "evil.pth was not read: it holds more than tensors, and that could run code." in line
    assert not marker.exists()


def test_weights_of_another_network_are_named(train, tmp_path):
    state = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.2.weight": torch.zeros(64, 64, 3, 3)}
    torch.save(state, tmp_path / "vgg.pth")
    done = train("vgg.pth")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "'features.0.weight' is (64, 3, 3, 3), expected (64, 3, 11, 11)" in line
    assert "looks like vgg16" in line


def test_convolutions_alone_cannot_be_frozen_deeper(train, tmp_path):
    save_features(tmp_path / "mine.pth")
    done = train("mine.pth", "--freeze", "fc6")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "'classifier.1.weight' of shape (4096, 9216) is missing" in line
    assert "It holds the features alone: freeze at conv5 or below." in line


def test_missing_imagenet_weights_are_not_downloaded_offline(train):
    done = train("imagenet")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "alexnet-owt-7be5be79.pth is not here and FROSTLINE_OFFLINE forbids downloading it" in line

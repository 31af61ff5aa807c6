"""The probe on objects that pre-training never draws."""

import torch

from frostline.models.alexnet import BUNDLED
from frostline.models.weights import read_record, read_state
from tools.pretraining.network import Pretraining
from tools.pretraining.probe import CLASSES, held_out_accuracy

CPU = torch.device("cpu")


def test_the_probe_tells_pre_trained_from_random():
    torch.manual_seed(0)
    random = held_out_accuracy(Pretraining(2, 2, "conv5", ()).plain_state(), CPU, per_class=12)
    bundled = held_out_accuracy({key: value.float() for key, value in read_state(BUNDLED).items()}, CPU)
    assert 3 / CLASSES < random < 0.7
    assert bundled > random + 0.2
    assert abs(bundled - read_record(BUNDLED)["history"][-1]["held_out_accuracy"]) < 0.01

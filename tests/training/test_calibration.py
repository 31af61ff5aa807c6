"""Temperature calibration."""

import pytest
import torch
from torch import nn

from frostline.training.calibration import best_temperature, calibrate
from frostline.training.trainer import measure, predict_logits


def drawn(temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels drawn from their probabilities at a temperature."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 10, generator=generator)
    labels = torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_drew_the_labels_is_found(temperature):
    assert best_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.03)


def test_a_few_correct_predictions_do_not_make_it_certain():
    logits = torch.eye(10)
    probabilities = (logits / best_temperature(logits, torch.arange(10))).softmax(1)
    assert 0.85 < float(probabilities.diagonal().min()) < 0.99


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_calibrated_head_predicts_the_same_with_less_loss(narrow, make_head, make_recipe, kind):
    from frostline.training.trainer import train

    examples, val = narrow
    head = make_head(examples, kind)
    train(head, examples, val, make_recipe(epochs=4, label_smoothing=0.5))
    before, (loss, accuracy) = predict_logits(head, val), measure(head, val)
    temperature = calibrate(nn.Sequential(head), head, val)
    assert torch.allclose(predict_logits(head, val), before / temperature, atol=1e-4)
    assert temperature < 1
    assert measure(head, val)[0] < loss
    assert measure(head, val)[1] == accuracy

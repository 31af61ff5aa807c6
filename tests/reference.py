"""An AlexNet that shares no line with ours: plain torch modules in torchvision's layout, with its state-dict keys."""

from pathlib import Path

import torch
from torch import nn


class ReferenceAlexNet(nn.Module):
    """``features``, ``avgpool``, ``classifier``, as torchvision names them."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.avgpool(self.features(x))
        logits: torch.Tensor = self.classifier(torch.flatten(x, 1))
        return logits


def reference_network(seed: int = 3, classes: int = 1000) -> ReferenceAlexNet:
    """A reference AlexNet with weights that keep activations in a healthy range at every depth."""
    torch.manual_seed(seed)
    network = ReferenceAlexNet(classes)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.normal_(layer.bias, std=0.1)
    return network.eval()


def save_features(path: Path, seed: int = 3) -> ReferenceAlexNet:
    """Write the feature layers alone as a ``.pth`` (10 MB instead of 244) and return the network."""
    network = reference_network(seed, classes=1)
    torch.save({f"features.{key}": value for key, value in network.features.state_dict().items()}, path)
    return network

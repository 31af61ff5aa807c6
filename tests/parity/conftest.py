"""The whole AlexNet twice with the same weights: torchvision's, and ours read from its ``.pth``."""

from pathlib import Path

import pytest
import torch
from torchvision.models import AlexNet

from frostline.models.backbone import Backbone
from frostline.models.registry import load_backbone
from tests.reference import reference_network


@pytest.fixture(scope="package")
def reference() -> AlexNet:
    """torchvision's."""
    return reference_network()


@pytest.fixture(scope="package")
def backbone(reference: AlexNet, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Our AlexNet, classifier included, with the reference's weights."""
    path: Path = tmp_path_factory.mktemp("published") / "alexnet.pth"
    torch.save(reference.state_dict(), path)
    loaded = load_backbone("alexnet", str(path), with_classifier=True)
    path.unlink()  # 244 MB
    return loaded

"""The whole AlexNet twice with the same weights: the independent one, and ours read from its ``.pth``."""

from pathlib import Path

import pytest
import torch

from frostline.networks.backbone import Backbone
from frostline.networks.registry import load_backbone
from tests.reference import ReferenceAlexNet, reference_network


@pytest.fixture(scope="package")
def reference() -> ReferenceAlexNet:
    """Plain torch modules in torchvision's layout."""
    return reference_network()


@pytest.fixture(scope="package")
def backbone(reference: ReferenceAlexNet, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Our AlexNet, classifier included, with the reference's weights."""
    path: Path = tmp_path_factory.mktemp("published") / "alexnet.pth"
    torch.save(reference.state_dict(), path)
    loaded = load_backbone("alexnet", str(path), with_classifier=True)
    path.unlink()  # 244 MB
    return loaded

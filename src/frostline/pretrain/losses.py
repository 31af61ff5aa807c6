"""What the network is asked: which object it is, and which texture it wears."""

import torch
from torch.nn import functional

from frostline.images.drawn.scene import Labels


def supervised(objects: torch.Tensor, textures: torch.Tensor, labels: Labels, texture_weight: float) -> torch.Tensor:
    """Return the cross-entropy of objects plus the weighted one of textures.

    Parameters
    ----------
    objects, textures : Tensor (n, classes)
        Logits.
    labels : Labels
        What was drawn.
    texture_weight : float
        Shape must stay in: the texture is the smaller part.
    """
    shape_loss = functional.cross_entropy(objects.float(), labels.objects)
    return shape_loss + texture_weight * functional.cross_entropy(textures.float(), labels.textures)

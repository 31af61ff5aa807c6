"""A linear probe: the quality of features for objects that were never drawn in pre-training."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from frostline.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from frostline.models import alexnet
from frostline.synthetic.scene import Labels, Program, draw_images, draw_labels

FIRST_CLASS = 500_000  # disjoint from the classes of pre-training and of drawn-objects
CLASSES = 40
PER_CLASS = 60  # a third of them for testing
SIZE = 128
BATCH = 120
ALPHA = 1000.0


@torch.inference_mode()
def held_out_accuracy(state: Mapping[str, torch.Tensor], device: torch.device, per_class: int = PER_CLASS) -> float:
    """Return the accuracy of a ridge classifier on conv5 features of 40 objects that pre-training never draws.

    Parameters
    ----------
    state : mapping of str to Tensor
        The convolutions, in torchvision's layout.
    device : torch.device
    per_class : int
        Images of each object, of which two thirds train the classifier and one third tests it.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    backbone = alexnet.build("conv5")
    ours = {key: state[alexnet.published_key(key)] for key in backbone.state_dict()}
    backbone.load_state_dict(ours, assign=True)
    stages = nn.Sequential(*backbone.stages.values()).to(device).eval()
    program = Program(seed=77, classes=CLASSES, first_class=FIRST_CLASS, clutter=0.0)
    mean = torch.tensor(IMAGENET_MEAN, device=device)[:, None, None]
    std = torch.tensor(IMAGENET_STD, device=device)[:, None, None]
    features, truth = [], []
    for start in range(0, CLASSES * per_class, BATCH):
        index = torch.arange(start, start + BATCH, device=device)
        labels = Labels(index % CLASSES, draw_labels(program, index).textures)
        images = draw_images(program, index, SIZE, labels)
        x = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
        features.append(stages(x).flatten(1).cpu().numpy())
        truth.append(labels.objects.cpu().numpy())
    rows, classes = np.concatenate(features), np.concatenate(truth)
    known = CLASSES * per_class * 2 // 3
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=ALPHA)).fit(rows[:known], classes[:known])
    return float(probe.score(rows[known:], classes[known:]))

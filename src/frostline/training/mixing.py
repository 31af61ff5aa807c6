"""Mixing images, or their activations, in pairs: mixup and cutmix."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812


@dataclass(frozen=True)
class Batch:
    """Rows (B, ...) that show ``share`` of their ``labels`` (B,) and for the rest ``others`` (B,)."""

    rows: torch.Tensor
    labels: torch.Tensor
    others: torch.Tensor
    share: float

    def loss(self, logits: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Return the cross-entropy of logits (B, classes) with both labels, each by its share."""
        loss = F.cross_entropy(logits, self.labels, label_smoothing=label_smoothing)
        if self.share == 1:
            return loss
        other = F.cross_entropy(logits, self.others, label_smoothing=label_smoothing)
        return self.share * loss + (1 - self.share) * other


def mix(rows: torch.Tensor, labels: torch.Tensor, mixup: float, cutmix: float, draw: np.random.Generator) -> Batch:
    """Mix each row of a batch with another one.

    ``mixup`` (Zhang et al. 2018, arXiv:1710.09412) blends them; on activations that is manifold mixup (Verma et al.
    2019, arXiv:1806.05236). ``cutmix`` (Yun et al. 2019, arXiv:1905.04899) puts a rectangle of one onto the other and
    needs maps. With both, each batch gets one of the two by chance.

    Parameters
    ----------
    rows : Tensor (B, ...), for cutmix (B, C, H, W)
    labels : Tensor (B,)
    mixup, cutmix : float
        The share is drawn from Beta(x, x); 0 leaves that one out.
    draw : numpy Generator
    """
    if not (mixup or cutmix):
        return Batch(rows, labels, labels, 1.0)
    cut = cutmix > 0 and (mixup == 0 or draw.random() < 0.5)
    strength = cutmix if cut else mixup
    share = float(draw.beta(strength, strength))
    partner = torch.from_numpy(draw.permutation(len(rows))).to(rows.device)
    if not cut:
        return Batch(share * rows + (1 - share) * rows[partner], labels, labels[partner], share)
    height, width = rows.shape[-2:]
    side = (1 - share) ** 0.5
    top, bottom = _span(height, side, draw)
    left, right = _span(width, side, draw)
    mixed = rows.clone()
    mixed[:, :, top:bottom, left:right] = rows[partner, :, top:bottom, left:right]
    return Batch(mixed, labels, labels[partner], 1 - (bottom - top) * (right - left) / (height * width))


def _span(length: int, share: float, draw: np.random.Generator) -> tuple[int, int]:
    """Return where a span of about a share of a length begins and ends; what lies beyond the edge is lost."""
    half, center = share * length / 2, draw.random() * length
    return max(0, round(center - half)), min(length, round(center + half))

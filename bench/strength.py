"""By what rule should validation choose the strength of the closed-form head? Fashion-MNIST's training file alone.

    python bench/strength.py [--weights bundled] [--seeds 12]

Frozen AlexNet at 128 pixels, the default taps and prior; 5 to 200 labels per class, drawn as a run draws them. Of the
tenth of the file that is held out 4,000 pictures judge. Of the others a ninth as many as are trained on choose the
strength (ten at least), as they do for one who has no more labels, or 2,000. Each rule picks one of the strengths from
1e-5 to 100 in steps of half a power of ten; printed is the mean accuracy of what it picked, and the difference to the
first rule with its standard error over the seeds. The last line is no rule but the best that could be picked. No test
split is read.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from bundled import IMAGE_SIZE, Computed, drawn
from common import machine, rows_of
from frostline.activations.forward import FastForward
from frostline.images.drawn.dataset import load_prior
from frostline.images.preprocess import Preprocess
from frostline.images.registry import load_dataset
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import load_backbone
from frostline.training.examples import Examples
from frostline.training.loop import moments
from frostline.training.within import FLOOR, Within

LABELS = (5, 10, 20, 50, 100, 200)
JUDGES, CHOOSERS = 4_000, 2_000
STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-10, 5))


@dataclass(frozen=True)
class Tried:
    """A strength, what the pictures that choose make of it, and its accuracy on those that judge."""

    strength: float
    right: int
    error: float
    accuracy: float


def most_accurate(tried: list[Tried]) -> Tried:
    return max(tried, key=lambda one: (one.right, one.strength))


def most_accurate_then_error(tried: list[Tried]) -> Tried:
    return max(tried, key=lambda one: (one.right, -one.error))


def least_error(tried: list[Tried]) -> Tried:
    return min(tried, key=lambda one: one.error)


def one_behind(tried: list[Tried]) -> Tried:
    most = max(one.right for one in tried)
    return least_error([one for one in tried if one.right >= most - 1])


RULES = {
    "most right, of equals the strongest": most_accurate,
    "most right, of equals the least squared error": most_accurate_then_error,
    "least squared error": least_error,
    "least squared error, at most one right fewer (in use)": one_behind,
    "the best there was": lambda tried: max(tried, key=lambda one: one.accuracy),
}


def standardised(part: Examples, head: Head) -> torch.Tensor:
    """Return standardised rows (N, F)."""
    return (part.rows.take(np.arange(len(part))).flatten(1) - head.mean) * head.scale


def try_all(
    part: Examples, choose: Examples, judge: Examples, prior: Examples | None = None, floor: float = FLOOR
) -> list[Tried]:
    """Solve the head for every strength, from one eigenvalue decomposition of the products between rows."""
    classes = 1 + int(part.labels.max())
    head = Head(HeadSpec("ridge", part.rows.shape[0], classes))
    head.standardise(*moments(torch.nn.Sequential(), part, 0))
    x = standardised(part, head)  # (N, F)
    centre = x.mean(0)
    x -= centre
    targets = functional.one_hot(torch.from_numpy(part.labels), classes).double()
    solved = Within(standardised(prior, head), prior.labels, floor).solved(x) if prior else x
    gram = (x @ solved.T).double()
    values, vectors = torch.linalg.eigh(gram)
    seen = [
        ((standardised(other, head) - centre) @ solved.T).double() @ vectors for other in (choose, judge)
    ]  # (M, N) each
    aims = vectors.T @ (targets - targets.mean(0))
    tried = []
    for strength in STRENGTHS:
        weights = aims / (values.clamp_min(0) + strength * gram.diagonal().mean())[:, None]
        scores = [rows @ weights + targets.mean(0) for rows in seen]
        truth = [torch.from_numpy(other.labels) for other in (choose, judge)]
        right = [score.argmax(1) == labels for score, labels in zip(scores, truth, strict=True)]
        error = (scores[0] - functional.one_hot(truth[0], classes)).square().mean().item()
        tried.append(Tried(strength, int(right[0].sum()), error, right[1].double().mean().item()))
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--seeds", type=int, default=12)
    options = parser.parse_args()
    print(machine())
    data, backbone = load_dataset("fashion-mnist").train, load_backbone(weights=options.weights)
    boundary = make_boundary(backbone, "conv5", backbone.usual_taps)
    forward = FastForward(Frozen(backbone, boundary), Preprocess(IMAGE_SIZE), torch.device("cpu"))
    kept, drawn_set = Computed(forward, data), load_prior()
    prior = Examples(rows_of(forward, drawn_set), drawn_set.labels)
    for labels in LABELS:
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for seed in range(options.seeds):
            chosen, held_out = drawn(data, labels, seed)
            shuffled = np.random.default_rng(seed).permutation(held_out)
            judge, rest = shuffled[:JUDGES], shuffled[JUDGES:]
            few = max(10, len(chosen) // 9)
            for name, count in ((f"{few:,} pictures choose", few), (f"{CHOOSERS:,} pictures choose", CHOOSERS)):
                parts = [Examples(kept.part(rows), data.labels[rows]) for rows in (chosen, rest[:count], judge)]
                tried = try_all(*parts, prior)
                for rule, pick in RULES.items():
                    found[name][rule].append(pick(tried).accuracy)
        for name, accuracies in found.items():
            print(f"\n{labels} labels per class, {name}")
            base = accuracies[next(iter(RULES))]
            for rule, values in accuracies.items():
                gains = np.subtract(values, base)
                error = gains.std(ddof=1) / len(gains) ** 0.5
                print(f"  {rule:<54} {np.mean(values):.4f}  {gains.mean():+.4f} ± {error:.4f}", flush=True)


if __name__ == "__main__":
    main()

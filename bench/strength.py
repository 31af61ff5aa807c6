"""By what rule should validation choose the strength of the closed-form head?

    python -m bench strength [--weights bundled] [--seeds 12] [--labels 5 10 ...]

Frozen AlexNet at 128 px, the default taps and prior; 5 to 200 labels per class of Fashion-MNIST's training file, drawn
as a run draws them. Of the tenth of the file that is held out, 4,000 images measure the accuracy. Of the others a ninth
as many as are trained on choose the strength (ten at least), as for a user who has no more labels, or 2,000. Each rule
picks one of the strengths from 1e-5 to 100 in steps of half a power of ten. Prints the mean accuracy of its pick, and
the difference to the first rule with its standard error over the seeds; the last line is the best that could be picked.
No test split is read.

About 10 minutes on 2 cores.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from bench.common.features import Lazy, draw_labels, frozen_alexnet, new_head, prior_examples
from bench.common.options import start
from bench.common.tables import Table, paired_difference
from frostline.data.registry import load_dataset
from frostline.models.heads import Head
from frostline.training.examples import Examples
from frostline.training.ridge import PRIOR_FLOOR, WithinClassPenalty

LABELS = [5, 10, 20, 50, 100, 200]
MEASURED, CHOOSE = 4_000, 2_000
STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-10, 5))


@dataclass(frozen=True)
class Tried:
    """A strength, its results on the images that choose, and its accuracy on those that measure."""

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


def standardized(part: Examples, head: Head) -> torch.Tensor:
    """Return standardized rows (N, F)."""
    return (part.rows.take(np.arange(len(part))).flatten(1) - head.mean) * head.scale


def try_all(
    part: Examples, choose: Examples, measured: Examples, prior: Examples | None = None, floor: float = PRIOR_FLOOR
) -> list[Tried]:
    """Fit the head with every strength, from one eigenvalue decomposition of the products between rows."""
    classes = 1 + int(part.labels.max())
    head = new_head("ridge", part, classes)
    x = standardized(part, head)  # (N, F)
    center = x.mean(0)
    x -= center
    targets = functional.one_hot(torch.from_numpy(part.labels), classes).double()
    solved = WithinClassPenalty(standardized(prior, head), prior.labels, floor).solve(x) if prior else x
    gram = (x @ solved.T).double()
    values, vectors = torch.linalg.eigh(gram)
    projected = [
        ((standardized(other, head) - center) @ solved.T).double() @ vectors for other in (choose, measured)
    ]  # (M, N) each
    coefficients = vectors.T @ (targets - targets.mean(0))
    tried = []
    for strength in STRENGTHS:
        weights = coefficients / (values.clamp_min(0) + strength * gram.diagonal().mean())[:, None]
        scores = [rows @ weights + targets.mean(0) for rows in projected]
        truth = [torch.from_numpy(other.labels) for other in (choose, measured)]
        right = [score.argmax(1) == labels for score, labels in zip(scores, truth, strict=True)]
        error = (scores[0] - functional.one_hot(truth[0], classes)).square().mean().item()
        tried.append(Tried(strength, int(right[0].sum()), error, right[1].double().mean().item()))
    return tried


def main(arguments: Sequence[str]) -> None:
    labels_option = {"type": int, "nargs": "*", "default": LABELS, "metavar": "N"}
    options = start(__doc__, arguments, weights="bundled", seeds=12, labels=labels_option)
    data, forward = load_dataset("fashion-mnist").train, frozen_alexnet(options.weights)
    features, prior = Lazy(forward, data), prior_examples(forward)
    for labels in options.labels:
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for seed in range(options.seeds):
            chosen, held_out = draw_labels(data, labels, seed)
            shuffled = np.random.default_rng(seed).permutation(held_out)
            measured, rest = shuffled[:MEASURED], shuffled[MEASURED:]
            few = max(10, len(chosen) // 9)
            for count in (few, CHOOSE):
                tried = try_all(*map(features.examples, (chosen, rest[:count], measured)), prior)
                for rule, pick in RULES.items():
                    found[f"{count:,} images choose"][rule].append(pick(tried).accuracy)
        for choose, accuracies in found.items():
            print(f"\n{labels} labels per class, {choose}")
            table = Table("rule:54", "val accuracy:6", "difference:16")
            base = accuracies[next(iter(RULES))]
            for rule, values in accuracies.items():
                table.row(rule, f"{np.mean(values):.4f}", paired_difference(values, base))

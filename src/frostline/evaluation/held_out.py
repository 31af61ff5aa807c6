"""Results on labeled images that the head was not trained on, none of them from the test split: what to improve.

The test split measures a run and chooses nothing, so labels to look at and classes to add images to are found here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.evaluation.metrics import Predictions

CONFIDENT, UNLIKELY = 0.8, 0.05  # probabilities of the other class and of the label itself
MOST_SUSPECTED = 100
MOST_CONFUSED = 5


def suspected_labels(predicted: Predictions) -> NDArray[np.int64]:
    """Return the positions of labels that may be wrong, those with the least probable label first.

    The predictions must come from heads that were not trained on these images. A label is suspected when another class
    has a probability of at least 0.8 and the label itself at most 0.05.
    """
    probabilities, labels = predicted.pair
    own = probabilities[np.arange(len(labels)), labels]
    suspected = (probabilities.max(1) >= CONFIDENT) & (own <= UNLIKELY)
    order = np.argsort(own, kind="stable")
    return np.asarray(order[suspected[order]][:MOST_SUSPECTED], np.int64)


def held_out_results(
    predicted: Predictions, class_names: Sequence[str], image_name: Callable[[int], str]
) -> dict[str, Any]:
    """Return what the predictions of held-out images say about labels and classes, for ``metrics.json``.

    Parameters
    ----------
    predicted : Predictions
        Of images that the head was not trained on.
    class_names : sequence of str
    image_name : callable
        Returns the name of the image at a position.

    Returns
    -------
    dict
        ``images``, ``correct``; ``per_class`` {name: {images, correct}}; ``confused``, up to five pairs
        [class, class, images], both directions counted together; ``suspected`` labels {image, label, predicted}.
    """
    probabilities, labels = predicted.pair
    best = probabilities.argmax(1)
    right = best == labels
    pairs = Counter(tuple(sorted(pair)) for pair in zip(labels[~right].tolist(), best[~right].tolist(), strict=True))
    return {
        "images": len(labels),
        "correct": int(right.sum()),
        "per_class": {
            name: {"images": int((labels == i).sum()), "correct": int(right[labels == i].sum())}
            for i, name in enumerate(class_names)
        },
        "confused": [[class_names[a], class_names[b], n] for (a, b), n in pairs.most_common(MOST_CONFUSED)],
        "suspected": [
            {"image": image_name(i), "label": class_names[labels[i]], "predicted": class_names[best[i]]}
            for i in suspected_labels(predicted).tolist()
        ],
    }

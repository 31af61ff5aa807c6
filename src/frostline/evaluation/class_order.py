"""The order of classes in which those that are confused with each other are neighbors."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def order_by_similarity(confusion: ArrayLike) -> list[int]:
    """Order classes by average-linkage clustering of their confusions, with optimally ordered leaves.

    Two classes are the more similar the larger the shares of their images are that are taken for the other. Leaves are
    ordered as by Bar-Joseph et al. (2001), and the direction is the one that begins with the smaller class number.

    Parameters
    ----------
    confusion : array (N, N)
        Numbers of images; rows are true classes.

    Returns
    -------
    list of int
        Class numbers; 0 to N - 1 where no two classes are confused.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = row_shares(confusion)
    np.fill_diagonal(shares, 0)
    if len(shares) < 3 or not shares.any():
        return list(range(len(shares)))
    similar = (shares + shares.T) / 2  # at most 1
    distances = 1 - similar
    np.fill_diagonal(distances, 0)
    order: list[int] = leaves_list(linkage(squareform(distances), "average", optimal_ordering=True)).tolist()
    return order if order[0] < order[-1] else order[::-1]


def row_shares(confusion: ArrayLike) -> NDArray[np.float64]:
    """Return each count as a share of its row; rows without images are 0."""
    counts = np.asarray(confusion)
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares

"""Who is near whom: what images copy, and which of two sets covers the other."""

import numpy as np

from ..doors import finite
from ..progress import with_progress
from .distances import checked_features

ROWS, COLUMNS = 1000, 4000  # pairs that are compared at once: 32 MB


def nearest(images, among, title="nearest images"):
    """For each of `images` (N, ...) which one of `among` (M, ...) is nearest, and how far it is.

    Returns (index, distance), both (N,). Pixels or features, compared one by one; distances of
    bytes are exact, so that a copy's is 0. Memory does not grow with N · M.
    Raises     ValueError unless both are bytes, or both finite numbers, and of the same shape
    """
    kinds = {x.dtype.kind in "iu" for x in (finite("images", images), finite("images", among))}
    if images.shape[1:] != among.shape[1:] or len(kinds) > 1:
        raise ValueError(
            f"images of {images.dtype} {images.shape} among {among.dtype} {among.shape}: give both "
            "as bytes or both from -1 to 1, and of the same shape"
        )
    a, b = images.reshape(len(images), -1), among.reshape(len(among), -1)
    index, squared = np.zeros(len(a), np.int64), np.full(len(a), np.inf)
    pairs = [(i, j) for i in _cuts(len(a), ROWS) for j in _cuts(len(b), COLUMNS)]
    for i, j in with_progress(pairs, title, len(pairs)):
        found = squared_distances(a[i], b[j])
        best = found.argmin(axis=1)
        found = found[np.arange(len(best)), best]
        closer = found < squared[i]
        index[i] = np.where(closer, j.start + best, index[i])
        squared[i] = np.where(closer, found, squared[i])
    return index, squared**0.5


def nearest_of_looks(looks, among, title="nearest images"):
    """`nearest`, for images that may look in several ways: each as it is, and mirrored.

    looks      a list of arrays (N, ...); what counts is the look that is closest
    """
    found = [nearest(look, among, title) for look in looks]
    index, distance = (np.stack(parts) for parts in zip(*found))
    best = distance.argmin(axis=0), np.arange(len(distance[0]))
    return index[best], distance[best]


def precision_and_recall(real, made, k=3):
    """How much of what was made looks real, and how much of what is real was made: two shares.

    Every image has a ball around its features that reaches to its k-th neighbour in its own set.
    precision is the share of `made` in some ball of `real`, recall that of `real` in one of `made`.

    real, made     (N, D) and (M, D) features, better N = M; more than k of each
    Source         Kynkäänniemi et al. 2019, arXiv:1904.06991
    """
    real, made = checked_features(real, made)
    if min(len(real), len(made)) <= k:
        raise ValueError(f"{len(real)} and {len(made)} images: use more than {k} of each")
    return _covered(made, real, k), _covered(real, made, k)


def _covered(points, centres, k):
    """The share of points in the ball of some centre."""
    radii, inside = np.empty(len(centres)), 0
    for i in _cuts(len(centres), ROWS):
        neighbours = squared_distances(centres[i], centres)
        neighbours[np.arange(len(neighbours)), np.arange(i.start, i.stop)] = 0  # itself, exactly
        radii[i] = np.partition(neighbours, k, axis=1)[:, k]  # 0 is itself
    for i in _cuts(len(points), ROWS):
        inside += (squared_distances(points[i], centres) <= radii).any(axis=1).sum()
    return float(inside / len(points))


def squared_distances(a, b):
    """|a_i - b_j|² (N, M) of rows a (N, D), b (M, D), in float64: |a|² + |b|² - 2 aᵀb."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    found = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.maximum(found, 0)


def _cuts(n, size):
    """Slices of `size` of n rows."""
    return [slice(i, min(n, i + size)) for i in range(0, n, size)]

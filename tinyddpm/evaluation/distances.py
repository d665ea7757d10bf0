"""How far two sets of images are from each other, by the features that a network sees in them.

What features are worth depends on the network. With those of one Inception network the Fréchet
distance is FID; with those of any other one it must not be called that. All of them are biased or
noisy for few images: a number says nothing without n and what real images get for the same n.
"""

import numpy as np

from ..doors import finite

CHUNK = 1000  # rows that are worked on at once


def frechet_distance(a, b):
    """The Fréchet distance between the Gaussians with the means and covariances of two sets.

        |μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½)        a (N, D), b (M, D) features

    With centred features X_a / √(N - 1) = Q_a R_a, Q_a orthogonal, Σ_a is R_aᵀ R_a, and the trace
    of the root is the sum of the singular values of R_a R_bᵀ. No matrix is squared and no root is
    taken, so it is exact where a covariance has no full rank (N ≤ D), and never complex.

    It grows by about D² / n for few images: compare it with that of as many real images.
    Raises     ValueError for sets that cannot be compared
    Source     Dowson & Landau 1982; Heusel et al. 2017, arXiv:1706.08500, for FID's features
    """
    a, b = checked_features(a, b)
    (mean_a, root_a), (mean_b, root_b) = _mean_and_root(a), _mean_and_root(b)
    gap = mean_a - mean_b
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False)
    traces = (root_a * root_a).sum() + (root_b * root_b).sum()
    return max(0.0, float(gap @ gap + traces - 2 * cross.sum()))


def _mean_and_root(features):
    """μ (D,) and R (at most D rows, D) with Σ = RᵀR: the R of a QR, chunk by chunk."""
    mean = features.mean(axis=0, dtype=np.float64)
    root = np.zeros((0, len(mean)))
    for i in range(0, len(features), CHUNK):
        centred = (features[i : i + CHUNK] - mean) / (len(features) - 1) ** 0.5
        root = np.linalg.qr(np.concatenate([root, centred]), mode="r")
    return mean, root


def kernel_distance(a, b):
    """The squared distance of two sets' means in the space of a cubic kernel, without bias.

        mean k(a_i, a_j) + mean k(b_i, b_j) - 2 mean k(a_i, b_j)     i ≠ j;  k(x, y) = (xᵀy/D + 1)³

    For two samples of the same images it is 0 in the mean, however few they are, and so may come
    out below 0. With Inception's features it is KID, which others take as the mean over random
    subsets of 1,000; here all pairs count, so that it needs no random numbers and varies less.

    a, b       (N, D) and (M, D) features
    Source     Bińkowski et al. 2018, arXiv:1801.01401
    """
    a, b = (features.astype(np.float64) for features in checked_features(a, b))
    cross = _kernel_sum(a, b) / (len(a) * len(b))
    return float(_kernel_mean_of_pairs(a) + _kernel_mean_of_pairs(b) - 2 * cross)


def _kernel_mean_of_pairs(a):
    """The mean of k over the pairs i ≠ j."""
    same = _cubes((a * a).mean(axis=1))
    return (_kernel_sum(a, a) - same) / (len(a) * (len(a) - 1))


def _kernel_sum(a, b):
    """The sum of k over all pairs."""
    chunks = (a[i : i + CHUNK] for i in range(0, len(a), CHUNK))
    return sum(_cubes(chunk @ b.T / a.shape[1]) for chunk in chunks)


def _cubes(products):
    """The sum of (x + 1)³ over all x; a power would take ten times as long."""
    k = products + 1
    return (k * k * k).sum()


def inception_score(probabilities, splits=10):
    """How sure a classifier is of each image, and how evenly it sees the classes: (mean, std).

        exp(mean of KL(p(y | x) || p(y)))       p(y) the mean of p(y | x)       from 1 to K

    It is taken over each of `splits` parts of the set, one after the other; their mean and standard
    deviation are returned. The images must be in no order of classes. It knows nothing of real
    images: one perfect image of each class, again and again, gets the highest score.

    probabilities      (N, K), of each image's classes
    Raises             ValueError for fewer images than splits
    Source             Salimans et al. 2016, arXiv:1606.03498
    """
    p = np.asarray(probabilities, np.float64)
    if not 1 <= splits <= len(p):
        raise ValueError(f"{splits} splits of {len(p)} images: use at least one image for each")
    scores = []
    for part in np.array_split(p, splits):
        mean = part.mean(axis=0)
        ratio = np.divide(part, mean, out=np.ones_like(part), where=part > 0)  # 0 log 0 is 0
        scores.append(np.exp((part * np.log(ratio)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def checked_features(a, b):
    """Two sets of features as arrays; ValueError unless they can be compared."""
    a, b = (finite("features", np.asarray(features)) for features in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"features of shapes {a.shape} and {b.shape}: give (N, D) and (M, D), two images or "
            "more in each"
        )
    return a, b

"""Distances between two sets of clips in a feature space."""

import numpy as np
import numpy.typing as npt

from kinema_evaluation.errors import MeasureError

Floats = npt.NDArray[np.float64]


def frechet(one: Floats, other: Floats) -> float:
    """Fréchet distance of two Gaussians with the mean and covariance of features (n, D) and (m, D).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), Dowson and Landau (1982), the distance of FVD (Unterthiner et al. 2018,
    arXiv:1812.01717), here over other features. It is too large for few clips, so compare it
    with that of as many true clips.

    Raises:
        MeasureError: fewer than two clips, or features of different width.
    """
    _check(one, other)
    first, second = (np.cov(of, rowvar=False).reshape(of.shape[1], of.shape[1]) for of in (one, other))
    root = _root(first)
    # tr (S1 S2)^(1/2) is that of the symmetric matrix S1^(1/2) S2 S1^(1/2).
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = float(((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum())
    return max(0.0, apart + float(np.trace(first) + np.trace(second) - 2 * shared))


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)


def mmd(one: Floats, other: Floats, width: float) -> float:
    """Unbiased squared maximum mean discrepancy of features (n, D) and (m, D), Gretton et al. (2012).

    The kernel is exp(-|x - y|^2 / (2 width^2)); KID (Binkowski et al. 2018, arXiv:1801.01401) has a cubic one. Around 0
    and possibly negative for two sets of one distribution. Raises as `frechet`.
    """
    _check(one, other)
    within = [_mean_off_diagonal(_kernel(of, of, width)) for of in (one, other)]
    return float(sum(within) - 2 * _kernel(one, other, width).mean())


def median_distance(features: Floats) -> float:
    """The median of all distances between rows of (n, D): the usual width of the kernel."""
    distances = np.sqrt(squares(features, features))
    return max(float(np.median(distances[np.triu_indices(len(features), 1)])), 1e-9)


def nearest(features: Floats, among: Floats) -> Floats:
    """The distance (n,) of each row of (n, D) to the nearest of (m, D)."""
    return np.asarray(np.sqrt(squares(features, among).min(axis=1)))


def squares(one: Floats, other: Floats) -> Floats:
    """Squared distances (n, m) between rows of (n, D) and (m, D)."""
    lengths = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None]
    return np.asarray(np.maximum(lengths - 2 * one @ other.T, 0))


def _kernel(one: Floats, other: Floats, width: float) -> Floats:
    return np.asarray(np.exp(-squares(one, other) / (2 * width**2)))


def _mean_off_diagonal(kernel: Floats) -> float:
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def _check(one: Floats, other: Floats) -> None:
    if min(len(one), len(other)) < 2 or one.shape[1] != other.shape[1]:
        raise MeasureError(f"Features {one.shape} and {other.shape} have no distance. Give two clips or more of each.")

"""Which clips to compare: a banded index of views, so that 100,000 clips are not compared with one another.

Signs of random projections of unit vectors agree with probability 1 - angle / pi (Charikar, STOC 2002). A key has 22 of
them, and there are 24 tables of keys: vectors 12 degrees apart meet in 99 % of cases, and 60 degrees apart in 0.3 %.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

TABLES: Final = 24
BITS: Final = 22
CLOSE: Final = 0.9
"""Least cosine of views that are compared in full."""
WIDEST: Final = 48
"""In a bucket with more entries, each is compared with that many that follow it in the order of a projection."""

AT_ONCE: Final = 1 << 17
"""Pairs whose vectors are in memory together."""


def candidates(views: NDArray[np.float32]) -> NDArray[np.int64]:
    """Pairs (i, j), i < j, sorted, of clips of which two views are close: int64 (P, 2).

    `views` are unit vectors float32 (N, V, D), V of each clip.
    """
    count, each, size = views.shape
    vectors = views.reshape(count * each, size)
    # RandomState's numbers are the same in every version of numpy.
    planes = np.random.RandomState(13).standard_normal((TABLES * BITS + 1, size)).astype(np.float32)
    order_in_bucket = vectors @ planes[-1]
    found = [np.zeros(0, np.int64)]
    for table in range(TABLES):
        signs = vectors @ planes[table * BITS : (table + 1) * BITS].T > 0
        keys = signs @ (1 << np.arange(BITS))
        pairs = _within_buckets(keys, order_in_bucket)
        clips = np.sort(pairs // each, axis=1)
        close = _close(vectors, pairs)
        clips = clips[close & (clips[:, 0] < clips[:, 1])]
        found.append(np.unique(clips[:, 0] * count + clips[:, 1]))
    return np.stack(np.divmod(np.unique(np.concatenate(found)), count), axis=1)


def _close(vectors: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    parts = np.array_split(pairs, -(-len(pairs) // AT_ONCE) or 1)
    cosines = [np.einsum("pd,pd->p", vectors[part[:, 0]], vectors[part[:, 1]]) for part in parts]
    return np.asarray(np.concatenate(cosines) >= CLOSE)


def _within_buckets(keys: NDArray[np.int64], order: NDArray[np.float32]) -> NDArray[np.int64]:
    """Pairs of positions with equal keys, at most WIDEST steps apart in the order."""
    placed = np.lexsort((order, keys))
    sorted_keys = keys[placed]
    found = [np.zeros((0, 2), np.int64)]
    for step in range(1, min(WIDEST, len(keys) - 1) + 1):
        same = np.flatnonzero(sorted_keys[step:] == sorted_keys[:-step])
        if not same.size:
            break
        found.append(np.stack([placed[same], placed[same + step]], axis=1))
    return np.concatenate(found)

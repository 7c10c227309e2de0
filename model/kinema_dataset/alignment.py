"""Whether two clips show the same: where one lies in the other, then whether they move alike at some shift in time.

Movement decides, since clips of one long shot have the same background and are no duplicates. Where nothing moves in
either, the pictures alone decide.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kinema_dataset.signature import CELLS, Signature, window

SIDE: Final = 16
"""Cells along a side at which windows are compared."""
SCALES: Final = (1.0, 0.95, 0.9, 0.85)
"""Sides of windows: a duplicate may have lost up to 15 % of either side."""
ALIKE: Final = 0.9
"""Least correlation of the mean pictures of duplicates."""
SAME: Final = 0.97
"""The same where nothing moves."""
IN_STEP: Final = 0.55
"""Least correlation of the changes over time of duplicates."""
OVERLAP: Final = 0.5
"""Least share of the shorter clip that both show."""
LEAST: Final = 4
"""Samples that both show, unless one has fewer."""
STILL: Final = 1.0
"""Root mean square of the changes over time, in levels, below which nothing moves."""

Window: TypeAlias = NDArray[np.float32]
"""Means of the cells of a part of one axis, (SIDE, CELLS)."""


def _windows() -> NDArray[np.float32]:
    """Of one axis: whole first, then start, middle and end of each scale, (N, SIDE, CELLS)."""
    spans = [(0.0, 1.0)]
    for scale in SCALES[1:]:
        spans += [(at * (1 - scale), at * (1 - scale) + scale) for at in (0.0, 0.5, 1.0)]
    return np.stack([window(SIDE, *span, CELLS) for span in spans])


WINDOWS: Final = _windows()


def duplicates(first: Signature, second: Signature) -> bool:
    """Whether one is a near-duplicate of the other: re-encoded, cropped, mirrored, or shifted in time. Symmetric."""
    return any(
        _show_the_same(*pair) for mirror in (second, second.mirrored()) for pair in ((first, mirror), (mirror, first))
    )


def _show_the_same(whole: Signature, part: Signature) -> bool:
    """Whether `part` shows a window of `whole`, and moves like it."""
    pictures = np.einsum("aij,jk,blk->abil", WINDOWS, whole.mean, WINDOWS, optimize=True)
    bank = _unit(pictures.reshape(len(WINDOWS) ** 2, -1))
    alike = bank @ _unit((WINDOWS[0] @ part.mean @ WINDOWS[0].T).reshape(1, -1))[0]
    best = int(alike.argmax())
    if alike[best] < ALIKE:
        return False
    rows, columns = WINDOWS[best // len(WINDOWS)], WINDOWS[best % len(WINDOWS)]
    moving = [_seen(whole, rows, columns), _seen(part, WINDOWS[0], WINDOWS[0])]
    return _in_step(*moving, still_is_same=bool(alike[best] >= SAME))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = rows - rows.mean(1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-3), np.float32)


def _seen(of: Signature, rows: Window, columns: Window) -> NDArray[np.float32]:
    seen = rows @ of.luma.astype(np.float32) @ columns.T
    return np.asarray(seen.reshape(len(seen), -1), np.float32)


def _in_step(first: NDArray[np.float32], second: NDArray[np.float32], *, still_is_same: bool) -> bool:
    """Whether the changes over time agree at a shift at which both show enough of the shorter one."""
    shorter = min(len(first), len(second))
    least = max(min(LEAST, shorter), int(np.ceil(OVERLAP * shorter)))
    if _changes(first) < STILL and _changes(second) < STILL:
        return still_is_same
    for shift in range(least - len(second), len(first) - least + 1):
        start, end = max(0, shift), min(len(first), shift + len(second))
        one, two = first[start:end], second[start - shift : end - shift]
        one, two = one - one.mean(0), two - two.mean(0)
        norms = float(np.linalg.norm(one) * np.linalg.norm(two))
        if float((one * two).sum()) > max(IN_STEP * norms, STILL**2 * one.size / 4):
            return True
    return False


def _changes(seen: NDArray[np.float32]) -> float:
    return float(np.sqrt(((seen - seen.mean(0)) ** 2).mean()))

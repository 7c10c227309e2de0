"""Which source a clip is nearest to, and what that says: retrieval of the source of a caption, and its controls.

Clips are compared number by number after they have one shape, as they are and decoloured: with the mean and the
variance of each clip's numbers removed, so that a single colour of the right kind is not enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Video = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.float64]
_LEAST = 1e-6


@dataclass(frozen=True)
class Labelled:
    """Clips and the number of the source that each belongs to, or ought to."""

    clips: Video
    sources: Sequence[int]


def shaped(clip: Video, frames: int, height: int, width: int) -> Video:
    """A clip at another shape: nearest frames, areas of pixels."""
    chosen = np.linspace(0, len(clip) - 1, frames).round().astype(int)
    sized = [cv2.resize(clip[at], (width, height), interpolation=cv2.INTER_AREA) for at in chosen]
    return np.stack(sized).astype(np.uint8)


def plain(clips: Video) -> Numbers:
    """(n, numbers) in [0, 1]."""
    return clips.reshape(len(clips), -1).astype(np.float64) / 255


def decoloured(clips: Video) -> Numbers:
    """(n, numbers): each colour channel of a clip with mean 0 and variance 1 over the clip."""
    found = clips.astype(np.float64)
    found -= found.mean((1, 2, 3), keepdims=True)
    found /= found.std((1, 2, 3), keepdims=True) + _LEAST
    return found.reshape(len(clips), -1)


def distances(clips: Video, others: Video, view: Callable[[Video], Numbers]) -> Numbers:
    """(n, m) root mean square differences."""
    mine, theirs = view(clips), view(others)
    squares = (mine**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * mine @ theirs.T
    return np.asarray(np.sqrt(np.maximum(squares, 0) / mine.shape[1]))


def retrieval(shown: Labelled, training: Labelled) -> dict[str, float]:
    """Shares of clips whose nearest training clip is of their own source, and the median distance to it."""
    found: dict[str, float] = {}
    for suffix, view in (("", plain), ("_decoloured", decoloured)):
        apart = distances(shown.clips, training.clips, view)
        right = [training.sources[near] == own for near, own in zip(apart.argmin(1), shown.sources, strict=True)]
        found[f"retrieval{suffix}"] = round(float(np.mean(right)), 4)
        found[f"distance{suffix}"] = round(float(np.median(apart.min(1))), 4)
    return found


def apart(training: Labelled) -> dict[str, float]:
    """The same of the training clips themselves, each among the others."""
    found: dict[str, float] = {}
    for suffix, view in (("", plain), ("_decoloured", decoloured)):
        between = distances(training.clips, training.clips, view)
        np.fill_diagonal(between, np.inf)
        right = [training.sources[near] == own for near, own in zip(between.argmin(1), training.sources, strict=True)]
        found[f"retrieval{suffix}"] = round(float(np.mean(right)), 4)
        found[f"distance{suffix}"] = round(float(np.median(between.min(1))), 4)
    return found


def controls(training: Labelled, sources: int) -> dict[str, dict[str, float]]:
    """What clips score that no model made."""
    everything = np.repeat(training.clips.mean(0, keepdims=True).round().astype(np.uint8), sources, axis=0)
    still = np.repeat(training.clips[:, :1], training.clips.shape[1], axis=1)
    return {
        "training clips among the others": apart(training),
        "a pasted training clip": retrieval(training, training),
        "its first frame, still": retrieval(Labelled(still, training.sources), training),
        "the mean of all training clips": retrieval(Labelled(everything, range(sources)), training),
    }

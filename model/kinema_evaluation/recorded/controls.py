"""What is made without a model: clips that a measure must tell from a model's, or from true ones."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from kinema_evaluation.distribution import DAMAGES, Damage
from kinema_model.rng import RngStream, generator
from kinema_world import Video

STILL: Final = "still frame"
MEAN: Final = "mean clip"
OTHER_CAPTION: Final = "another caption"
PASTED: Final = "pasted training clips"
SHUFFLED: Final = "frames out of order"
_MOST_NOISE: Final = 40.0


def still(clip: Video) -> Video:
    """The first frame of a clip (T, H, W, 3) for ever."""
    return np.repeat(clip[:1], len(clip), axis=0)


def mean_clip(clips: Sequence[Video]) -> Video:
    """The mean of clips of one shape (T, H, W, 3)."""
    return np.asarray(np.mean(np.stack(clips), axis=0).round(), dtype=np.uint8)


def noisy(clip: Video, amount: float, seed: int) -> Video:
    """A clip (T, H, W, 3) with noise of its own in each frame, `amount` in [0, 1] of the most."""
    noise = generator(RngStream.EVALUATION, 3, seed).normal(0, amount * _MOST_NOISE, clip.shape)
    return np.asarray((clip + noise).round().clip(0, 255), dtype=np.uint8)


WORSE: Final[dict[str, Damage]] = {**DAMAGES, "noise": noisy}
"""Ways to make true clips worse by an amount in [0, 1], with which every distance must grow."""

"""Clips that are nearly black or white teach a model to fade; their mean luma tells them."""

from __future__ import annotations

from typing import Final

import numpy as np

from kinema_dataset.frames import Frames, check, luma, shrunk, spread

LOOKED_AT: Final = 12
"""Frames."""
LONGEST: Final = 128


def brightness(frames: Frames) -> float:
    """Mean luma of frames uint8 (T, H, W, 3), 0 (black) to 1 (white), over at most 12 of them.

    Raises FramesError if it is not frames.
    """
    check(frames)
    means = [luma(shrunk(frames[i], LONGEST)).mean() for i in spread(len(frames), LOOKED_AT)]
    return float(np.mean(means)) / 255

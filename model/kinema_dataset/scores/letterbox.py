"""Bars of one colour around the picture, to the pixel, so that they can be cropped.

A line belongs to a bar if nearly all its pixels keep the colour of the outermost line in every frame; the picture must
then begin across a good part of the next lines at once, which the dark sky of a night scene does not.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinema_dataset.frames import Frames, check, spread
from kinema_dataset.records import Bars

LOOKED_AT: Final = 10
"""Frames."""
DARK, DARK_LEVELS, LEVELS = 40, 18, 6
"""Bars darker than 40 of 255 may differ by 18 levels (encoders leave noise in them), others by 6."""
STRAY: Final = 0.02
"""Share of a line's pixels that may differ."""
BEGINS, WITHIN = 0.35, 3
"""Share of a line that the picture must take up, and within how many lines of the bar."""


def bars(frames: Frames) -> Bars:
    """The bars of frames uint8 (T, H, W, 3); none if the whole frame has one colour.

    Raises FramesError if it is not frames.
    """
    check(frames)
    chosen = frames[spread(len(frames), LOOKED_AT)].astype(np.int16)
    top, bottom = _bar(chosen), _bar(chosen[:, ::-1])
    picture = chosen[:, top : chosen.shape[1] - bottom].swapaxes(1, 2)
    left, right = _bar(picture), _bar(picture[:, ::-1])
    return Bars(top=top, bottom=bottom, left=left, right=right)


def _bar(lines: NDArray[np.int16]) -> int:
    """Leading lines of (T, lines, pixels, 3) that are a bar."""
    colour = np.median(lines[:, 0], axis=(0, 1))
    levels = DARK_LEVELS if colour.max() < DARK else LEVELS
    differs = np.zeros(lines.shape[:3], bool)
    for channel in range(3):
        differs |= np.abs(lines[..., channel] - colour[channel]) > levels
    of_bar = differs.mean(2).max(0) <= STRAY
    count = int(np.argmin(of_bar)) if not of_bar.all() else 0
    if not count:
        return 0
    begins = differs[:, count : count + WITHIN].any(axis=(0, 1)).mean()
    return count if begins >= BEGINS else 0

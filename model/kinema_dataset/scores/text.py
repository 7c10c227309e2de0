"""Titles, subtitles and watermarks: a model that sees them writes letters over its clips.

Letters are found as connected components: drawn in one colour that stands out, with strokes of one width, which stay
where they are while the clip moves. Components that agree in height, stroke and colour and stand on one line are a line
of text. No learned detector is asked, since none has its weights in a package. Text that moves with the scene, such as
a sign, is not counted.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinema_dataset.frames import Frames, check, luma, resized, spread
from kinema_dataset.scores.letters import STANDS_OUT, Letters, find_letters
from kinema_dataset.scores.text_lines import text_boxes

LONGEST: Final = 640
"""Pixels of the longer side at which it is looked for; smaller clips are enlarged."""
PARTS: Final = 2
"""Parts of the clip that are looked at one by one, since a title may show in one of them alone."""
LOOKED_AT: Final = 5
"""Frames of each."""


def text(frames: Frames) -> float:
    """Share of the frame that boxes around lines of overlaid text cover, frames uint8 (T, H, W, 3); 0 if there is none.

    The greater of those of both halves of the clip. Raises FramesError if it is not frames.
    """
    check(frames)
    parts = np.array_split(np.arange(len(frames)), min(PARTS, len(frames)))
    return max(_covered(frames, part) for part in parts)


def _covered(frames: Frames, part: NDArray[np.int_]) -> float:
    looked_at = np.stack([_enlarged(frames[part[i]]) for i in spread(len(part), LOOKED_AT)])
    middle = np.median(looked_at, axis=0).astype(np.uint8)
    unrest = np.abs(looked_at.astype(np.int16) - middle).mean(0, dtype=np.float32)
    covered = np.zeros(middle.shape, np.uint8)
    for light, by in product((True, False), STANDS_OUT):
        letters: Letters = find_letters(middle, unrest, light=light, by=by)
        for left, top, right, bottom in text_boxes(letters):
            covered[top:bottom, left:right] = 1
    return float(covered.mean())


def _enlarged(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = LONGEST / max(frame.shape[:2])
    grey = luma(frame)
    return resized(grey, max(16, round(grey.shape[0] * scale)), max(16, round(grey.shape[1] * scale)))

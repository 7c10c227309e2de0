"""Where shots begin and end, and the clips that they are cut into: a clip must not contain a cut.

scenedetect's adaptive detector finds hard cuts: a change that is large, and large against those around it. Frames come
one by one, so a long video is looked at in little memory (768 bytes a frame stay).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from kinema_dataset.errors import DatasetError, FramesError
from kinema_dataset.frames import Image, resized, shrunk
from kinema_dataset.transitions import transitions

LONGEST: Final = 256
"""Pixels of the longer side at which detectors look."""
RATIO, CONTENT = 2.6, 12.0
"""A cut changes this many times as much as the frames around it, and at least this much (HSV, of 255)."""
THUMB: Final = 16


@dataclass(frozen=True, order=True)
class Shot:
    """Frames [first, end) of a video between two cuts, transitions taken off."""

    first: int
    end: int

    @property
    def frames(self) -> int:
        """Frames of the shot."""
        return self.end - self.first


def shots(frames: Iterable[Image], fps: float) -> tuple[Shot, ...]:
    """The shots of a video in order, from its RGB frames uint8 (H, W, 3) one by one.

    Frames in dissolves, fades and black belong to none.

    Raises FramesError if a frame is of another form or size than the first, or `fps` is not positive.
    """
    if not fps > 0:
        raise FramesError(f"fps is {fps}: give the frames per second of the video")
    detector = AdaptiveDetector(adaptive_threshold=RATIO, min_scene_len=1, min_content_val=CONTENT)
    thumbs: list[NDArray[np.uint8]] = []
    cuts: set[int] = set()
    shape: tuple[int, ...] | None = None
    for number, frame in enumerate(frames):
        shape = _same_form(frame, shape, number)
        small = np.ascontiguousarray(shrunk(frame, LONGEST)[..., ::-1])
        cuts.update(cut.frame_num for cut in detector.process_frame(FrameTimecode(number, float(fps)), small))
        thumbs.append(resized(frame, THUMB, THUMB))
    if not thumbs:
        return ()
    return _between(len(thumbs), cuts, transitions(np.stack(thumbs)))


def _same_form(frame: Image, shape: tuple[int, ...] | None, number: int) -> tuple[int, ...]:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or (shape and frame.shape != shape):
        expected = shape or "(H, W, 3)"
        raise FramesError(f"frame {number} is {frame.dtype} {frame.shape}: decode all frames to uint8 {expected}")
    return frame.shape


def _between(count: int, cuts: Iterable[int], gaps: Sequence[tuple[int, int]]) -> tuple[Shot, ...]:
    """What is left of `count` frames between cuts and outside of gaps."""
    gone = np.zeros(count, bool)
    for first, end in gaps:
        gone[first:end] = True
    edges = {0, count, *(cut for cut in cuts if 0 < cut < count)}
    edges |= set((np.flatnonzero(np.diff(gone)) + 1).tolist())
    ordered = sorted(edges)
    return tuple(Shot(a, b) for a, b in pairwise(ordered) if not gone[a])


def clips(shot: Shot, least: int, most: int) -> tuple[Shot, ...]:
    """The shot in as few parts as `most` frames each allow, of equal length but for one frame.

    Where such parts would be shorter than `least`, all have `most` frames and what is left over is dropped. A shot
    shorter than `least` stays one part: the filter of length drops it, with a reason.
    Raises DatasetError unless 1 <= least <= most.
    """
    if not 1 <= least <= most:
        raise DatasetError(f"least is {least} and most is {most}: give 1 <= least <= most, in frames")
    parts = max(1, -(-shot.frames // most))
    if parts > 1 and shot.frames // parts < least:
        return tuple(Shot(a, a + most) for a in range(shot.first, shot.end - most + 1, most))
    edges = [shot.first + shot.frames * part // parts for part in range(parts + 1)]
    return tuple(Shot(a, b) for a, b in pairwise(edges))

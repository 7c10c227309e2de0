"""Marks of clips that a model of simple scenes drew: attributes, motion, and errors at the edges of patches.

Every mark is also given for true clips of the same scenes, and for controls, so that a figure shows what it can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kinema_evaluation.motion import steady
from kinema_evaluation.tracking import objects, places
from kinema_world import Scene, Video
from kinema_world.reader import parse

LEAST_SEEN: Final = 6
"""Frames in which an object is wholly in view, so that each half of its way tells a velocity."""
_WHOLE: Final = 1 - 1e-9
# A step between two frames is even where it is off the mean step by less than this share of it.
_EVEN: Final = 0.5
_BLUR: Final = (0.25, 0.5, 0.25)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Marks:
    """Shares in [0, 1] of clips that show what their scenes say.

    `steady`: both halves of the way have one velocity (within 20 %, as the report of a model has it). `even`: every
    step between two frames is within half of the mean step. Both are of the scenes whose object is in view for long.
    """

    colour: float
    direction: float
    shape: float
    steady: float
    even: float

    def figures(self) -> dict[str, float]:
        """By name, rounded for a line of figures."""
        return {name: round(value, 3) for name, value in vars(self).items()}


def marks(scenes: Sequence[Scene], clips: Sequence[Video] | Video) -> Marks:
    """Marks of clips uint8 (T, H, W, 3), one for each simple scene."""
    pairs = [(parse(clip), scene.attributes) for scene, clip in zip(scenes, clips, strict=True)]
    right = {
        name: float(np.mean([getattr(one, name, None) == getattr(asked, name) for one, asked in pairs]))
        for name in ("colour", "direction", "shape")
    }
    moving = [(s, c) for s, c in zip(scenes, clips, strict=True) if seen_for_long(s)]
    return Marks(
        **right,
        steady=float(np.mean([steady(scene, clip, 0) for scene, clip in moving])),
        even=float(np.mean([even(scene, clip) for scene, clip in moving])),
    )


def seen_for_long(scene: Scene) -> bool:
    """Whether the object of a simple scene is wholly in view in enough frames."""
    return int((scene.tracks[0].visible > _WHOLE).sum()) >= LEAST_SEEN


def even(scene: Scene, clip: Video) -> bool:
    """Whether the object goes on from frame to frame, without a stop or a leap, while it is wholly in view."""
    thing = objects(clip, scene.shape.fps).get(str(scene.attributes.colour))
    centres = places(thing, scene.shape.frames)
    frames = np.flatnonzero(~np.isnan(centres[:, 0]))
    if len(frames) < LEAST_SEEN:
        return False
    steps = np.diff(centres[frames], axis=0) / np.diff(frames)[:, None]
    mean = steps.mean(axis=0)
    speed = float(np.linalg.norm(mean))
    return speed > 0 and bool((np.linalg.norm(steps - mean, axis=1) <= _EVEN * speed).all())


def edge_error(clips: Video, truth: Video, cell: tuple[int, int]) -> float:
    """Mean absolute error of pixels beside the edges of patches of `cell` (rows, columns), over that of others.

    `clips` and `truth` are uint8 (B, T, H, W, 3). Edges of the frame are no edges of patches: nothing is beyond them.
    Objects of the world have their outlines at some places more often than at others, so the figure means something
    only beside that of a control that knows no patches.
    """
    error = np.abs(clips.astype(np.float64) - truth).mean(axis=(0, 1, 4))
    rows, columns = (_crossed(length, side) for length, side in zip(error.shape, cell, strict=True))
    edge = _beside(rows)[:, None] | _beside(columns)[None]
    return float(error[edge].mean() / error[~edge].mean())


def edge_jumps(clips: Video, cell: tuple[int, int]) -> float:
    """Mean absolute difference of neighbouring pixels of two patches of `cell` (rows, columns), over that within one.

    `clips` is uint8 (B, T, H, W, 3); to be compared with true clips of the same scenes.
    """
    across, within = [], []
    for axis, side in zip((2, 3), cell, strict=True):
        others = tuple(number for number in range(5) if number != axis)
        jumps = np.abs(np.diff(clips.astype(np.float64), axis=axis)).mean(axis=others)
        crossed = _crossed(clips.shape[axis], side)
        across.append(jumps[crossed])
        within.append(jumps[~crossed])
    return float(np.concatenate(across).mean() / np.concatenate(within).mean())


def _crossed(length: int, side: int) -> npt.NDArray[np.bool_]:
    """(length - 1,): True where a pixel and the next one belong to two patches."""
    crossed: npt.NDArray[np.bool_] = np.arange(1, length) % side == 0
    return crossed


def _beside(crossed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.append(crossed, False) | np.insert(crossed, 0, False)


def blurred(clips: Video) -> Video:
    """One binomial blur along rows and columns, which knows no patches: the control of `edge_error`."""
    soft = clips.astype(np.float64)
    for axis in (2, 3):
        pad = [(1, 1) if number == axis else (0, 0) for number in range(soft.ndim)]
        padded = np.pad(soft, pad, mode="edge")
        taken: list[Any] = [
            padded.take(range(first, first + soft.shape[axis]), axis=axis) * weight
            for first, weight in enumerate(_BLUR)
        ]
        soft = sum(taken)
    return np.asarray(soft.round(), dtype=np.uint8)


def stilled(clips: Video) -> Video:
    """Clips that show their middle frame all the time: the control of motion."""
    middle = clips[:, clips.shape[1] // 2, None]
    return np.repeat(middle, clips.shape[1], axis=1)

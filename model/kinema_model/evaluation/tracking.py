"""Where one object is in each frame of a clip, for measures that need numbers and not words."""

import numpy as np
import numpy.typing as npt

from kinema_model.reader import ObjectReading, read
from kinema_model.world import Video

Floats = npt.NDArray[np.float64]

_LEAST_POINTS = 3


def objects(video: Video, fps: float) -> dict[str, ObjectReading]:
    """The objects in the first shot of a clip uint8 (T, H, W, 3), by colour."""
    return {thing.colour: thing for thing in read(video, fps).shots[0].objects}


def places(thing: ObjectReading | None, frames: int) -> Floats:
    """Centres (T, 2) in pixels as (column, row), NaN where the object is not wholly seen."""
    found = np.full((frames, 2), np.nan)
    for frame, centre in enumerate(thing.centres if thing else ()):
        if centre is not None:
            found[frame] = centre
    return found


def velocity(centres: Floats, first: int, end: int, fps: float) -> Floats | None:
    """Of the straight line through the centres in frames [first, end), in px/s; None of fewer than three."""
    frames = np.flatnonzero(~np.isnan(centres[first:end, 0])) + first
    if len(frames) < _LEAST_POINTS:
        return None
    times = frames - frames.mean()
    slope = (times[:, None] * centres[frames]).sum(axis=0) / (times**2).sum()
    return np.asarray(slope * fps)


def jump(centres: Floats, seam: int) -> float | None:
    """How much the velocity changes within a frame of `seam`, the first frame of what follows, in px per frame.

    The larger of the second differences over frames (seam - 2, seam - 1, seam) and (seam - 1, seam, seam + 1), as far
    as they are in the clip; None where a centre is missing.
    """
    changes = []
    for middle in (seam - 1, seam):
        if 1 <= middle < len(centres) - 1:
            before, at, after = centres[middle - 1 : middle + 2]
            changes.append(float(np.linalg.norm(after - 2 * at + before)))
    if not changes or np.isnan(changes).any():
        return None
    return max(changes)

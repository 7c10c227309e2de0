"""Positions of one object in each frame of a clip, for measures that need numbers instead of words."""

import numpy as np
import numpy.typing as npt

from kinema_world import Video
from kinema_world.reader import ObjectReading, read
from kinema_world.reader.layers import as_float, backgrounds, object_cores, object_layers

Floats = npt.NDArray[np.float64]

_LEAST_POINTS = 3
# Less of an object than this share of its largest sight has no centre.
_LEAST_SIGHT = 0.1


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


def visible_centres(video: Video, colour: str) -> Floats:
    """Centres (T, 2) of what is seen of an object of one colour before a plain background, NaN where nothing is.

    An object that the frame cuts off has a shifted centre: compare only clips of the same trajectory.
    """
    pixels = as_float(video)
    centres = np.full((len(video), 2), np.nan)
    found = np.nanmedian(backgrounds(pixels), axis=0) if len(video) else np.full(3, np.nan)
    for layer in [] if np.isnan(found).any() else object_layers(pixels, found.astype(np.float32), object_cores(pixels)):
        if layer.colour == colour:
            areas = layer.soft.sum(axis=(1, 2), dtype=np.float64)
            seen = areas > max(_LEAST_SIGHT * areas.max(), 1e-9)
            rows, columns = (np.arange(side) + 0.5 for side in layer.soft.shape[1:])
            centres[seen, 0] = (layer.soft.sum(axis=1) @ columns)[seen] / areas[seen]
            centres[seen, 1] = (layer.soft.sum(axis=2) @ rows)[seen] / areas[seen]
    return centres


def velocity(centres: Floats, first: int, end: int, fps: float) -> Floats | None:
    """Velocity (2,) in px/s of the straight line through centres (T, 2) in frames [first, end).

    None of fewer than three centres; NaN stands for a frame without one.
    """
    frames = np.flatnonzero(~np.isnan(centres[first:end, 0])) + first
    if len(frames) < _LEAST_POINTS:
        return None
    times = frames - frames.mean()
    slope = (times[:, None] * centres[frames]).sum(axis=0) / (times**2).sum()
    return np.asarray(slope * fps)


def velocity_change(centres: Floats, seam: int) -> float | None:
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

"""Reads the attributes of a simple scene from pixels alone.

It does not know the prompt. Each attribute is read independently; None means that it cannot be read, which counts as
wrong in an evaluation.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_world.errors import ClipError
from kinema_world.geometry import coverage
from kinema_world.moving import RADIUS_RANGE
from kinema_world.vocabulary import COLOURS, SHAPES, Attributes, FloatArray, Video

# A pixel whose brightest channel is below this is background; the dimmest colour of the world is at 210.
_VISIBLE: Final = 90.0
# Fewer visible pixels than this share of a frame are specks, not a shape; a shape must be there in half the
# frames.
_LEAST_AREA: Final = 0.02
_LEAST_FRAMES: Final = 0.5
# Distance of a visible pixel to its palette colour, both scaled to a brightest channel of 1, and the share of
# visible pixels that must agree: a clip in two colours has no colour, not their mean.
_COLOUR_TOLERANCE: Final = 0.45
_COLOUR_MAJORITY: Final = 0.6
# Share of visible pixels that may have one other colour of the palette, as edges of a blurred object do.
_MOST_OF_ANOTHER: Final = 0.2
# A shape must travel this share of the shorter side, and mostly along one axis.
_LEAST_TRAVEL: Final = 0.10
_AXIS_DOMINANCE: Final = 1.5
# Overlap (intersection over union) with the best template, and its lead over the second best shape.
_LEAST_OVERLAP: Final = 0.6
_OVERLAP_LEAD: Final = 0.003
_BLURS: Final = 2
# Radii tried, as shares of the shorter side: the range of the world and a little more at both ends.
_RADIUS_SLACK: Final = 0.04
_RADII: Final = 8

Mask = npt.NDArray[np.bool_]


def parse(video: Video) -> Attributes | None:
    """What a clip uint8 (T, H, W, 3) shows, or None where there is no object in it. Raises `ClipError`."""
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8:
        raise ClipError(f"A clip of {video.dtype} {video.shape} cannot be read. Give uint8 (T, H, W, 3).")
    pixels = video.astype(np.float32)
    brightness: FloatArray = pixels.max(axis=-1)
    visible: Mask = brightness > _VISIBLE
    present = visible.mean(axis=(1, 2)) > _LEAST_AREA
    if present.mean() < _LEAST_FRAMES:
        return None
    masks = _soft_masks(brightness[present], visible[present])
    centres = _centres(masks)
    times = np.flatnonzero(present)
    return Attributes(
        colour=read_colour(pixels, visible),
        shape=_read_shape(masks, centres),
        direction=_read_direction(times, centres, len(video), min(video.shape[1:3])),
    )


def read_colour(pixels: FloatArray, visible: Mask) -> str | None:
    """The palette colour that most of the visible pixels are nearest to.

    `pixels` float (T, H, W, 3), `visible` (T, H, W). None where no colour has a majority, or a fifth has another one.
    """
    seen = pixels[visible]
    scaled = seen / seen.max(axis=-1, keepdims=True)
    palette = np.array(list(COLOURS.values()), dtype=np.float32)
    palette /= palette.max(axis=-1, keepdims=True)
    distances = np.linalg.norm(scaled[:, None] - palette, axis=-1)
    nearest = np.where(distances.min(axis=1) < _COLOUR_TOLERANCE, distances.argmin(axis=1), len(palette))
    votes = np.bincount(nearest, minlength=len(palette) + 1)[: len(palette)]
    best = int(votes.argmax())
    another = np.delete(votes, best).max()
    one = votes[best] >= _COLOUR_MAJORITY * len(seen) and another <= _MOST_OF_ANOTHER * len(seen)
    return list(COLOURS)[best] if one else None


def _soft_masks(brightness: FloatArray, visible: Mask) -> FloatArray:
    """Coverage in [0, 1] (T, H, W): brightness over that of the object's own inside."""
    inside = np.quantile(brightness[visible], 0.75)
    masks: FloatArray = np.clip(brightness / inside, 0, 1).astype(np.float32)
    return masks


def _centres(masks: FloatArray) -> FloatArray:
    """Centre of mass (T, 2) as (column, row) in pixels."""
    # Squaring keeps a faint haze over the background from pulling the centre to the middle.
    weights = masks**2
    total = weights.sum(axis=(1, 2))
    rows = np.arange(masks.shape[1], dtype=np.float32) + 0.5
    columns = np.arange(masks.shape[2], dtype=np.float32) + 0.5
    x = (weights.sum(axis=1) * columns).sum(axis=1) / total
    y = (weights.sum(axis=2) * rows).sum(axis=1) / total
    return np.stack((x, y), axis=1).astype(np.float32)


def _read_direction(times: npt.NDArray[np.intp], centres: FloatArray, frames: int, side: int) -> str | None:
    """From the straight line fitted through the centres."""
    if len(times) < 2:
        return None
    offsets = times - times.mean()
    slope = (offsets[:, None] * centres).sum(axis=0) / (offsets**2).sum()
    across, down = (float(v) for v in slope * (frames - 1))
    along, other = max(abs(across), abs(down)), min(abs(across), abs(down))
    if along < _LEAST_TRAVEL * side or along < _AXIS_DOMINANCE * other:
        return None
    if along == abs(across):
        return "right" if across > 0 else "left"
    return "down" if down > 0 else "up"


def _read_shape(masks: FloatArray, centres: FloatArray) -> str | None:
    """The shape whose template overlaps best over a range of radii, where the object is wholly in view."""
    whole = _wholly_inside(masks)
    if whole.any():
        masks, centres = masks[whole], centres[whole]
    side = min(masks.shape[1:])
    radii = side * np.linspace(
        RADIUS_RANGE[0] - _RADIUS_SLACK, RADIUS_RANGE[1] + _RADIUS_SLACK, _RADII, dtype=np.float32
    )
    rows = np.arange(masks.shape[1], dtype=np.float32)[:, None] + 0.5 - centres[:, 1, None, None]
    columns = np.arange(masks.shape[2], dtype=np.float32) + 0.5 - centres[:, 0, None, None]
    overlaps = np.array(
        [max(_best_overlap(masks, coverage(shape, rows, columns, radius)) for radius in radii) for shape in SHAPES]
    )
    order = overlaps.argsort()
    best, second = overlaps[order[-1]], overlaps[order[-2]]
    if best < _LEAST_OVERLAP or best - second < _OVERLAP_LEAD:
        return None
    return SHAPES[int(order[-1])]


def _best_overlap(masks: FloatArray, template: FloatArray) -> float:
    """Over the sharp template and blurred ones, so that soft edges do not make every shape a square."""
    best = _overlap(masks, template)
    for _ in range(_BLURS):
        template = _blurred(template)
        best = max(best, _overlap(masks, template))
    return best


def _blurred(template: FloatArray) -> FloatArray:
    """One binomial blur (1, 2, 1)/4 along rows and columns."""
    padded = np.pad(template, ((0, 0), (1, 1), (1, 1)))
    across = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    blurred = (across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]) / 4
    return blurred.astype(np.float32)


def _overlap(masks: FloatArray, template: FloatArray) -> float:
    shared = np.minimum(masks, template).sum(axis=(1, 2))
    united = np.maximum(masks, template).sum(axis=(1, 2))
    return float((shared / united).mean())


def _wholly_inside(masks: FloatArray) -> Mask:
    edges = np.concatenate((masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]), axis=1)
    inside: Mask = edges.max(axis=1) < 0.5
    return inside

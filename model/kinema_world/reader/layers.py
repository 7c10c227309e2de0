"""Separates frames into the plain background and the coverage of each pixel by each palette colour.

Objects of the world differ in colour, so a colour is an object. A pixel at an edge is a mixture of two colours;
how far it lies on the way from the background to the object's colour is the share that the object covers.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_world.vocabulary import BACKGROUNDS, COLOURS, FloatArray, Video

Mask = npt.NDArray[np.bool_]

# Euclidean distances in 8-bit RGB. Palette colours of objects are at least 180 apart, those of backgrounds 66.
_COLOUR_TOLERANCE: Final = 80.0
_BACKGROUND_TOLERANCE: Final = 30.0
_OFF_THE_LINE: Final = 35.0
# Backgrounds, landmarks and screens have no channel above this; objects have.
_DARK: Final = 130.0
_BIN: Final = 32
_NEAR_MODE: Final = 36.0
# How far around its core an object's edge may reach, in pixels.
_EDGE: Final = 3
# Steeper edges about the middle keep faint neighbours out and areas as they are.
_STEEPNESS: Final = 2.0
# A colour that never fills this share of the shorter side squared is a speck.
LEAST_AREA: Final = 0.012
_CUT_STEP: Final = 45.0
_CUT_NOISE: Final = 20.0


@dataclass(frozen=True, eq=False)
class Layer:
    """One palette colour in T frames: its core, and its coverage in [0, 1], both (T, H, W).

    `soft` is the coverage before its edges were made steeper, whose centre of mass has no error that depends on where
    an edge lies between two pixels.
    """

    colour: str
    core: Mask
    coverage: FloatArray
    soft: FloatArray


def backgrounds(pixels: FloatArray) -> FloatArray:
    """The most common dark colour of each frame, (T, 3) from float (T, H, W, 3); NaN where there is none."""
    found = np.full((len(pixels), 3), np.nan, dtype=np.float32)
    for frame, image in enumerate(pixels.reshape(len(pixels), -1, 3)):
        dark = image[image.max(axis=-1) < _DARK]
        if len(dark):
            bins = (dark // _BIN).astype(np.int64)
            common = np.bincount(bins @ np.array([64, 8, 1])).argmax()
            middle = dark[bins @ np.array([64, 8, 1]) == common].mean(axis=0)
            found[frame] = dark[np.linalg.norm(dark - middle, axis=-1) < _NEAR_MODE].mean(axis=0)
    return found


def background_word(colour: FloatArray) -> str | None:
    """The name of the background nearest to a colour (3,) in 0 to 255, if it is near."""
    palette = np.array(list(BACKGROUNDS.values()), dtype=np.float32)
    distances = np.linalg.norm(palette - colour, axis=-1)
    nearest = int(distances.argmin())
    return list(BACKGROUNDS)[nearest] if distances[nearest] < _BACKGROUND_TOLERANCE else None


def find_cut(bases: FloatArray) -> int | None:
    """The frame from which the background (T, 3) is another one, if it changes once and for good."""
    if len(bases) < 4 or np.isnan(bases).any():
        return None
    steps = np.linalg.norm(np.diff(bases, axis=0), axis=-1)
    cut = int(steps.argmax()) + 1
    before, after = bases[:cut], bases[cut:]
    if np.linalg.norm(np.median(before, axis=0) - np.median(after, axis=0)) < _CUT_STEP:
        return None
    # A frame that blends both shots may stand on either side of the cut, but no more than that.
    noise = [np.linalg.norm(part - np.median(part, axis=0), axis=-1) > _CUT_NOISE for part in (before, after)]
    return cut if all(int(off.sum()) <= 1 for off in noise) else None


def object_cores(pixels: FloatArray) -> dict[str, Mask]:
    """Pixels (T, H, W) near each palette colour that fills more than a speck in some frame (T, H, W, 3)."""
    least = LEAST_AREA * min(pixels.shape[1:3]) ** 2
    cores: dict[str, Mask] = {}
    for name, colour in COLOURS.items():
        core = ((pixels - np.array(colour, dtype=np.float32)) ** 2).sum(axis=-1) < _COLOUR_TOLERANCE**2
        if core.sum(axis=(1, 2)).max() >= least:
            cores[name] = core
    return cores


def anywhere(cores: dict[str, Mask], shape: tuple[int, ...]) -> Mask:
    """Pixels (T, H, W) in any of the cores."""
    together = np.zeros(shape, dtype=bool)
    for core in cores.values():
        together |= core
    return together


def scenery_behind(pixels: FloatArray, base: FloatArray, objects: Mask, step: tuple[float, float]) -> FloatArray:
    """What stands behind the objects in each frame, float (T, H, W, 3).

    All frames are averaged in one picture of the world, to the nearest pixel of a view that moves by `step` (columns,
    rows) px per frame; pixels that an object always covers get the plain colour `base` (3,).
    """
    frames, height, width = objects.shape
    places = np.round(np.arange(frames)[:, None] * np.array(step)).astype(int)
    places -= places.min(axis=0)
    rows, columns = (int(reach) for reach in places.max(axis=0)[::-1])
    total = np.zeros((height + rows, width + columns, 3), dtype=np.float32)
    count = np.zeros((height + rows, width + columns, 1), dtype=np.float32)
    views = [(slice(y, y + height), slice(x, x + width)) for x, y in places]
    for image, covered, view in zip(pixels, objects, views, strict=True):
        total[view] += np.where(covered[..., None], 0, image)
        count[view] += ~covered[..., None]
    world = np.where(count > 0, total / np.maximum(count, 1), base)
    return np.stack([world[view] for view in views]).astype(np.float32)


def object_layers(pixels: FloatArray, behind: FloatArray, cores: dict[str, Mask]) -> list[Layer]:
    """How much each object covers of each pixel of float (T, H, W, 3) before a background (3,) or (T, H, W, 3)."""
    everything = anywhere(cores, pixels.shape[:3])
    return [
        Layer(name, core, *_coverage(pixels, behind, name, core, everything & ~core)) for name, core in cores.items()
    ]


def _coverage(
    pixels: FloatArray, behind: FloatArray, name: str, core: Mask, others: Mask
) -> tuple[FloatArray, FloatArray]:
    """The coverage with steeper edges, and as it is."""
    way = np.array(COLOURS[name], dtype=np.float32) - behind
    offsets = pixels - behind
    share = (offsets * way).sum(axis=-1) / (way * way).sum(axis=-1)
    aside = np.linalg.norm(offsets - share[..., None] * way, axis=-1)
    counts = core | (grown(core, _EDGE) & (aside < _OFF_THE_LINE) & ~others)
    steep = np.clip((share - 0.5) * _STEEPNESS + 0.5, 0, 1)
    steeper, soft = (np.where(counts, of, 0).astype(np.float32) for of in (steep, np.clip(share, 0, 1)))
    return steeper, soft


def steepened(coverage: FloatArray) -> FloatArray:
    """The coverage (...) in [0, 1] of a template with the steeper edges of a layer, so that both can be compared."""
    return np.asarray(np.clip((coverage - 0.5) * _STEEPNESS + 0.5, 0, 1), dtype=np.float32)


def grown(mask: Mask, by: int) -> Mask:
    """The mask (T, H, W) and all pixels within a square reach of it."""
    for axis in (1, 2):
        wide = mask.copy()
        for step in range(1, by + 1):
            ahead: list[slice] = [slice(None)] * 3
            behind: list[slice] = [slice(None)] * 3
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            wide[tuple(ahead)] |= mask[tuple(behind)]
            wide[tuple(behind)] |= mask[tuple(ahead)]
        mask = wide
    return mask


def as_float(video: Video) -> FloatArray:
    """The clip (T, H, W, 3) as float32, still 0 to 255."""
    return video.astype(np.float32)

"""The words of the world and the numbers they stand for, for drawing, captions and reader.

Ranges of sizes and speeds have gaps between them, so that no measured value is near two words.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Video = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Range = tuple[float, float]

COLOURS: Final[dict[str, Colour]] = {
    "red": (235, 40, 40),
    "green": (40, 210, 60),
    "blue": (50, 80, 245),
    "yellow": (240, 220, 40),
    "magenta": (225, 50, 220),
    "white": (245, 245, 245),
}
SHAPES: Final = ("square", "circle", "triangle")
# (columns, rows) per unit of travel; rows count downwards.
DIRECTIONS: Final[dict[str, tuple[int, int]]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}
DIAGONALS: Final[dict[str, tuple[int, int]]] = {
    "up and left": (-1, -1),
    "up and right": (1, -1),
    "down and left": (-1, 1),
    "down and right": (1, 1),
}
# Radii in shares of the shorter side; the smallest is 4 px in the smallest frame.
SIZES: Final[dict[str, Range]] = {"small": (0.125, 0.135), "medium": (0.165, 0.18), "large": (0.22, 0.25)}
# Speeds in shorter sides per second.
SPEEDS: Final[dict[str, Range]] = {
    "slowly": (0.05, 0.15),
    "at a steady pace": (0.2, 0.4),
    "quickly": (0.55, 1.1),
}
# Faster than in any training, and still "quickly".
BEYOND: Final[Range] = (1.1, 1.35)
WALLS: Final = ("left", "right", "top", "bottom")
BACKGROUNDS: Final[dict[str, Colour]] = {
    "black": (0, 0, 0),
    "dark blue": (18, 22, 80),
    "dark green": (12, 64, 28),
    "dark red": (80, 18, 24),
    "grey": (64, 64, 68),
}
# On grey, neither landmarks nor a grey screen would stand out.
PLAIN_BACKGROUNDS: Final = tuple(BACKGROUNDS)
SCENERY_BACKGROUNDS: Final = tuple(name for name in BACKGROUNDS if name != "grey")
LANDMARKS: Final[tuple[Colour, ...]] = ((98, 84, 68), (68, 84, 98))
SCREEN: Final[Colour] = (112, 112, 112)
SCREEN_STRIPES: Final[Colour] = (90, 90, 90)
# Half the width of a trail, in radii of its brush.
TRAIL_WIDTH: Final = 0.5


class SceneKind(StrEnum):
    """What a scene is about; `WorldConfig.kinds` weighs them."""

    SIMPLE = "simple"
    SEVERAL = "several"
    BOUNCE = "bounce"
    GRAVITY = "gravity"
    COLLIDE = "collide"
    OCCLUDE = "occlude"
    PAN = "pan"
    PAINT = "paint"
    TWO_SHOT = "two-shot"
    IMAGE = "image"


class Motion(StrEnum):
    """What one object does in one shot."""

    STILL = "stays still"
    STRAIGHT = "moves"
    BOUNCE = "bounces"
    FALL = "falls"
    HIT = "hits"
    STRUCK = "is hit"
    PASS = "passes behind"
    PAINT = "paints"


@dataclass(frozen=True)
class Attributes:
    """What a clip of one object shows; None where a reader of pixels cannot tell."""

    colour: str | None
    shape: str | None
    direction: str | None


def combinations() -> list[Attributes]:
    """Every colour, shape and direction of a simple scene, in a fixed order."""
    return [Attributes(c, s, d) for c in COLOURS for s in SHAPES for d in DIRECTIONS]


def heading_of(x: float, y: float) -> str | None:
    """The word for a direction on the screen, None where it lies between two words or has no length.

    Eight sectors of 45 degrees; 4 degrees at either side of a border belong to neither.
    """
    if x == 0 and y == 0:
        return None
    angle = float(np.degrees(np.arctan2(y, x))) % 360
    sector = round(angle / 45)
    if abs(angle - 45 * sector) > 18.5:
        return None
    words = ("right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right")
    return words[sector % 8]


def speed_word(speed: float) -> str | None:
    """The word for a speed in shorter sides per second; borders are the geometric means of the gaps' ends."""
    slow, steady, quick = SPEEDS.values()
    if speed < slow[0] / 1.5 or speed > BEYOND[1] * 1.3:
        return None
    first, second = (slow[1] * steady[0]) ** 0.5, (steady[1] * quick[0]) ** 0.5
    return list(SPEEDS)[int(speed > first) + int(speed > second)]


def size_word(share: float) -> str | None:
    """The word for a radius as a share of the shorter side; borders are the middles of the gaps."""
    ranges = list(SIZES.values())
    if not 0.8 * ranges[0][0] < share < 1.2 * ranges[-1][1]:
        return None
    borders = [(low[1] + high[0]) / 2 for low, high in pairwise(ranges)]
    return list(SIZES)[sum(share > border for border in borders)]

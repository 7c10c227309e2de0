"""Outlines of the three shapes: their extents, signed distances and areas.

Everything is in radii around the centre of mass, or in pixels where an argument says so; rows count downwards.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema_world.vocabulary import FloatArray

# At one radius, these scales give the three shapes nearly the same area.
SQUARE_HALF: Final = 0.88
TRIANGLE_CIRCUM: Final = 1.50
_TRIANGLE_HALF_WIDTH: Final = TRIANGLE_CIRCUM * 3**0.5 / 2

# Reach to the left, right, top and bottom, in radii.
EXTENTS: Final[dict[str, tuple[float, float, float, float]]] = {
    "square": (SQUARE_HALF,) * 4,
    "circle": (1.0,) * 4,
    "triangle": (_TRIANGLE_HALF_WIDTH, _TRIANGLE_HALF_WIDTH, TRIANGLE_CIRCUM, TRIANGLE_CIRCUM / 2),
}
# Radius of the circle around each shape, in radii.
REACH: Final[dict[str, float]] = {"square": SQUARE_HALF * 2**0.5, "circle": 1.0, "triangle": TRIANGLE_CIRCUM}
# Area in squared radii.
AREAS: Final[dict[str, float]] = {
    "square": 4 * SQUARE_HALF**2,
    "circle": float(np.pi),
    "triangle": 0.75 * 3**0.5 * TRIANGLE_CIRCUM**2,
}


def distance(shape: str, rows: Tensor, columns: Tensor, radius: Tensor) -> Tensor:
    """Signed distance in pixels to the outline, negative inside, from offsets in pixels to the centre of mass.

    `rows`, `columns` and `radius` (pixels) broadcast to the shape of the result. Beyond the corners of squares and
    triangles it is the distance to a side's line, which is less than that to the corner.
    """
    if shape == "circle":
        return torch.hypot(rows, columns) - radius
    if shape == "square":
        return torch.maximum(rows.abs(), columns.abs()) - SQUARE_HALF * radius
    # Equilateral, point up: three half planes at half the circumradius from the centre of mass.
    slanted = (0.5 * 3**0.5) * columns.abs() - 0.5 * rows
    return torch.maximum(rows, slanted) - (0.5 * TRIANGLE_CIRCUM) * radius


def covered(signed: Tensor) -> Tensor:
    """Coverage in [0, 1] from signed distances (...) in pixels, of the same shape: edges are one pixel wide."""
    return (0.5 - signed).clamp_(0, 1)


def coverage(shape: str, rows: FloatArray, columns: FloatArray, radius: FloatArray | float) -> FloatArray:
    """How much of each pixel a shape covers, in [0, 1], from offsets in pixels to its centre of mass.

    `rows`, `columns` and `radius` (pixels) broadcast to the shape of the result, which is float32.
    """
    parts = [torch.from_numpy(np.asarray(part, dtype=np.float32)) for part in (rows, columns, radius)]
    result: FloatArray = covered(distance(shape, *parts)).numpy()
    return result


def area_before(shape: str, axis: int, place: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share (T,) of a shape's area at coordinates below `place` (T,), in radii from the centre of mass along an axis.

    Axis 0 runs over columns and axis 1 over rows. Exact for each of the three shapes.
    """
    if shape == "circle":
        s = np.clip(place, -1, 1)
        return 0.5 + (s * np.sqrt(1 - s * s) + np.arcsin(s)) / np.pi
    if shape == "square":
        return (np.clip(place / SQUARE_HALF, -1, 1) + 1) / 2
    if axis == 1:
        return np.clip((place + TRIANGLE_CIRCUM) / (1.5 * TRIANGLE_CIRCUM), 0, 1) ** 2
    s = np.clip(place / _TRIANGLE_HALF_WIDTH, -1, 1)
    return np.where(s < 0, 0.5 * (1 + s) ** 2, 1 - 0.5 * (1 - s) ** 2)

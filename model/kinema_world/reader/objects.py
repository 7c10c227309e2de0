"""From the coverage of one colour to an object: where it is in each frame, its shape and its size."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_world.geometry import AREAS, EXTENTS, REACH, coverage
from kinema_world.reader.layers import Layer, Mask, steepened
from kinema_world.vocabulary import SHAPES, FloatArray, size_word

Floats = npt.NDArray[np.float64]

# Share of its usual area above which an object counts as wholly seen, and below which as hidden.
_WHOLE: Final = 0.88
_WHOLE_PASSING: Final = 0.96
_HALF: Final = 0.5
# Mean squared distance to the centre over the area: 0.16 for a disc, 0.19 for a triangle.
_SCATTERED: Final = 0.3
_HIDDEN: Final = 0.04
_FRAMES_COMPARED: Final = 8
_BLURS: Final = 4
_RADII: Final = np.linspace(0.92, 1.08, 7)
# Squared difference to the best template over the template's own square, and its lead over the second best.
_WORST_FIT: Final = 0.2
_LEAST_LEAD: Final = 1.15


@dataclass(frozen=True, eq=False)
class ColourTrack:
    """One colour in T frames: centres (T, 2), share of its usual area (T,), and where it is wholly seen (T,).

    A colour that is not compact is scattered over the frame and is no object. `radius` is in px.
    """

    colour: str
    shape: str | None
    size: str | None
    radius: float | None
    centres: Floats
    shares: Floats
    whole: Mask
    compact: bool

    @property
    def hidden(self) -> Mask:
        """Frames (T,) in which nothing of it is seen."""
        gone: Mask = self.shares < _HIDDEN
        return gone

    def extents(self) -> tuple[float, float, float, float]:
        """Reach in pixels to the left, right, top and bottom of the centre; of a disc where the shape is unknown."""
        left, right, top, bottom = EXTENTS[self.shape or "circle"]
        radius = self.radius or 0.0
        return left * radius, right * radius, top * radius, bottom * radius


def measure_colour(layer: Layer) -> ColourTrack:
    """The track of one colour. Its shape and size are None where no template fits."""
    areas = layer.coverage.sum(axis=(1, 2), dtype=np.float64)
    usual = float(np.quantile(areas, 0.9))
    shares = np.clip(areas / max(usual, 1e-9), 0, 1)
    centres = _centres(layer.coverage)
    # What passes behind something or out of the frame is only wholly seen where nothing at all of it is missing.
    passing = _at_the_border(layer.coverage) | (shares < _HIDDEN).any()
    whole: Mask = shares > np.where(passing, _WHOLE_PASSING, _WHOLE)
    compact = _spread(layer.coverage, centres, whole) < _SCATTERED * usual
    shape, radius = _fit(layer.coverage, centres, areas, whole)
    size = size_word(radius / min(layer.coverage.shape[1:])) if radius else None
    return ColourTrack(
        layer.colour, shape, size, radius or float((usual / np.pi) ** 0.5), centres, shares, whole, compact
    )


def _spread(masks: FloatArray, centres: Floats, whole: Mask) -> float:
    """Median over frames of the mean squared distance of the mass to its centre, in px^2."""
    rows = (np.arange(masks.shape[1]) + 0.5 - centres[whole, 1, None]) ** 2
    columns = (np.arange(masks.shape[2]) + 0.5 - centres[whole, 0, None]) ** 2
    seen = masks[whole]
    squares = (seen.sum(axis=2) * rows).sum(axis=1) + (seen.sum(axis=1) * columns).sum(axis=1)
    return float(np.median(squares / seen.sum(axis=(1, 2))))


def _at_the_border(masks: FloatArray) -> Mask:
    """Frames (T,) in which something reaches the frame's edge."""
    edges = (masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1])
    there: Mask = np.max([edge.max(axis=1) for edge in edges], axis=0) > _HALF
    return there


def _centres(masks: FloatArray) -> Floats:
    """Centres of mass (T, 2) as (column, row) in pixels; NaN where there is no mass."""
    total = masks.sum(axis=(1, 2), dtype=np.float64)
    rows, columns = np.arange(masks.shape[1]) + 0.5, np.arange(masks.shape[2]) + 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        x = (masks.sum(axis=1, dtype=np.float64) @ columns) / total
        y = (masks.sum(axis=2, dtype=np.float64) @ rows) / total
    return np.stack((x, y), axis=1)


def _fit(masks: FloatArray, centres: Floats, areas: Floats, whole: Mask) -> tuple[str | None, float | None]:
    """The shape whose template is nearest over a range of radii and blurs, and its radius in pixels."""
    frames = np.flatnonzero(whole)
    frames = frames[np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES_COMPARED)).astype(int)]
    area = float(areas[frames].mean())
    reach = int(np.ceil(max(REACH.values()) * (area / min(AREAS.values())) ** 0.5 * 1.1)) + 3
    patches, rows, columns = _patches(masks, centres, frames, reach)
    errors, radii = [], []
    for shape in SHAPES:
        tried = [
            (_error(patches, template), float(radius))
            for radius in (area / AREAS[shape]) ** 0.5 * _RADII
            for template in _templates(shape, rows, columns, float(radius))
        ]
        error, radius = min(tried)
        errors.append(error)
        radii.append(radius)
    best, second = np.argsort(errors)[:2]
    if errors[best] > _WORST_FIT or errors[second] < _LEAST_LEAD * errors[best]:
        return None, None
    return SHAPES[best], radii[best]


def _patches(
    masks: FloatArray, centres: Floats, frames: npt.NDArray[np.intp], reach: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Windows (n, P, P) around the centres, and offsets of their rows (n, P, 1) and columns (n, 1, P) to them."""
    padded = np.pad(masks, ((0, 0), (reach, reach), (reach, reach)))
    corners = np.floor(centres[frames]).astype(int)
    size = 2 * reach + 1
    patches = np.stack([padded[f, y : y + size, x : x + size] for f, (x, y) in zip(frames, corners, strict=True)])
    steps = np.arange(-reach, reach + 1) + 0.5
    rows = (steps + (corners[:, 1] - centres[frames, 1])[:, None])[:, :, None]
    columns = (steps + (corners[:, 0] - centres[frames, 0])[:, None])[:, None]
    return patches, rows.astype(np.float32), columns.astype(np.float32)


def _templates(shape: str, rows: FloatArray, columns: FloatArray, radius: float) -> list[FloatArray]:
    """A shape with sharp and with softer edges, as the coverage of a layer would have it."""
    template = coverage(shape, rows, columns, radius)
    soft = []
    for _ in range(_BLURS):
        soft.append(steepened(template))
        template = _blurred(template)
    return soft


def _blurred(template: FloatArray) -> FloatArray:
    """One binomial blur (1, 2, 1)/4 along rows and columns."""
    padded = np.pad(template, ((0, 0), (1, 1), (1, 1)))
    across = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    blurred = (across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]) / 4
    return blurred.astype(np.float32)


def _error(patches: FloatArray, template: FloatArray) -> float:
    # A window may reach over the frame's edge, where nothing is drawn and nothing is expected.
    return float(((patches - template) ** 2).sum() / max(float((template**2).sum()), 1e-9))

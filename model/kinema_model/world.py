"""A small world whose truth is known: one coloured shape moves over black, and a caption says exactly that.

Clips are made on the fly from (seed, index), so data needs no storage, a resumed run sees the same clips, and
what a model draws can be held against the exact state. Shapes start near the centre and cross about a third
of the frame, so that the direction shows in where things are, not only in how they change: a small model
learns it much sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema_model.codec import to_float
from kinema_model.draws import Stream, generator
from kinema_model.errors import ShapeError

FloatArray = npt.NDArray[np.float32]
Video = npt.NDArray[np.uint8]

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (235, 40, 40),
    "green": (40, 210, 60),
    "blue": (50, 80, 245),
    "yellow": (240, 220, 40),
    "magenta": (225, 50, 220),
    "white": (245, 245, 245),
}
SHAPES: Final = ("square", "circle", "triangle")
DIRECTIONS: Final[dict[str, tuple[int, int]]] = {
    # (columns, rows) per unit of travel; rows count downwards.
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}
CANONICAL: Final = "a {colour} {shape} moves {direction}"
_PARAPHRASES: Final = (
    "a {colour} {shape} moving {direction}",
    "the {colour} {shape} moves {direction}",
    "a {colour} {shape} goes {direction}",
    "{colour} {shape}, moving {direction}",
    "a {shape} that is {colour} moves {direction}",
)
_CANONICAL_SHARE: Final = 0.5

# In shares of the shorter side of the frame.
RADIUS_RANGE: Final = (0.22, 0.25)
_TRAVEL: Final = (0.27, 0.33)
_JITTER: Final = 0.03
# At one radius, these scales give the three shapes nearly the same area.
_SQUARE_HALF: Final = 0.88
_TRIANGLE_CIRCUM: Final = 1.50


@dataclass(frozen=True)
class Attributes:
    """What a clip shows; None where a reader of pixels cannot tell."""

    colour: str | None
    shape: str | None
    direction: str | None


@dataclass(frozen=True)
class State:
    """The truth behind a clip. Positions are (columns, rows) in pixels per frame, velocity in px/s."""

    attributes: Attributes
    radius: float
    positions: tuple[tuple[float, float], ...]
    velocity: tuple[float, float]


@dataclass(frozen=True)
class Clip:
    """One sample: video uint8 (T, H, W, 3), its caption, and its state."""

    video: Video
    caption: str
    state: State


def combinations() -> list[Attributes]:
    """Every colour, shape and direction there is, in a fixed order."""
    return [Attributes(c, s, d) for c in COLOURS for s in SHAPES for d in DIRECTIONS]


def caption_of(attributes: Attributes, template: str = CANONICAL) -> str:
    return template.format(colour=attributes.colour, shape=attributes.shape, direction=attributes.direction)


def prompts(count: int, seed: int) -> list[tuple[str, Attributes]]:
    """Canonical prompts with what they ask for; combinations come equally often, in an order set by seed."""
    all_of_them = combinations()
    draw = generator(Stream.PROMPTS, seed)
    order: list[int] = []
    while len(order) < count:
        order.extend(int(i) for i in draw.permutation(len(all_of_them)))
    return [(caption_of(all_of_them[i]), all_of_them[i]) for i in order[:count]]


def coverage(shape: str, rows: FloatArray, columns: FloatArray, radius: FloatArray | float) -> FloatArray:
    """How much of each pixel a shape covers, in [0, 1], from offsets in pixels to its centre of mass.

    The signed distance to the outline is turned into coverage over one pixel, which smooths the edge.
    """
    if shape == "circle":
        distance = np.hypot(rows, columns) - radius
    elif shape == "square":
        distance = np.maximum(np.abs(rows), np.abs(columns)) - _SQUARE_HALF * radius
    else:
        # Equilateral, point up: three half planes at half the circumradius from the centre of mass.
        slanted = 0.5 * np.sqrt(np.float32(3)) * np.abs(columns) - 0.5 * rows
        distance = np.maximum(rows, slanted) - 0.5 * _TRIANGLE_CIRCUM * radius
    return np.clip(0.5 - distance, 0, 1).astype(np.float32)


class World:
    """Clips of one moving shape, deterministic by (seed, index). Sizes in pixels, `fps` frames per second."""

    def __init__(self, seed: int, frames: int, height: int, width: int, fps: int) -> None:
        if min(frames, height, width, fps) < 1:
            raise ShapeError(
                f"A world of {frames} frames, {height} x {width} px at {fps} fps is empty. Use sizes above 0."
            )
        self.seed = seed
        self.frames, self.height, self.width, self.fps = frames, height, width, fps

    def state(self, index: int) -> tuple[State, str]:
        """The truth and the caption of clip `index`, without drawing it."""
        draw = generator(Stream.WORLD, self.seed, index)
        every = combinations()
        attributes = every[int(draw.integers(len(every)))]
        side = min(self.height, self.width)
        radius = side * draw.uniform(*RADIUS_RANGE)
        travel = side * draw.uniform(*_TRAVEL)
        start = np.array([self.width, self.height]) / 2 + side * draw.uniform(-_JITTER, _JITTER, size=2)
        assert attributes.direction is not None
        course = travel * np.array(DIRECTIONS[attributes.direction])
        path = start + np.linspace(0, 1, self.frames)[:, None] * course
        seconds = max(self.frames - 1, 1) / self.fps
        template = CANONICAL
        if draw.random() >= _CANONICAL_SHARE:
            template = _PARAPHRASES[int(draw.integers(len(_PARAPHRASES)))]
        positions = tuple((float(x), float(y)) for x, y in path)
        velocity = (float(course[0] / seconds), float(course[1] / seconds))
        return State(attributes, float(radius), positions, velocity), caption_of(attributes, template)

    def render(self, states: Sequence[State]) -> Video:
        """uint8 (B, T, H, W, 3); clips of one shape are drawn together."""
        video = np.zeros((len(states), self.frames, self.height, self.width, 3), dtype=np.uint8)
        rows = np.arange(self.height, dtype=np.float32)[:, None] + 0.5
        columns = np.arange(self.width, dtype=np.float32) + 0.5
        for shape in SHAPES:
            which = [i for i, state in enumerate(states) if state.attributes.shape == shape]
            if not which:
                continue
            places = np.array([states[i].positions for i in which], dtype=np.float32)[..., None, None]
            radius = np.array([states[i].radius for i in which], dtype=np.float32)[:, None, None, None]
            alpha = coverage(shape, rows - places[:, :, 1], columns - places[:, :, 0], radius)
            colours = np.array([COLOURS[str(states[i].attributes.colour)] for i in which], dtype=np.float32)
            video[which] = (alpha[..., None] * colours[:, None, None, None] + 0.5).astype(np.uint8)
        return video

    def sample(self, index: int) -> Clip:
        state, caption = self.state(index)
        return Clip(self.render([state])[0], caption, state)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, list[str]]:
        """Videos float32 in [-1, 1] (B, 3, T, H, W) and their captions."""
        drawn = [self.state(index) for index in indices]
        return to_float(torch.from_numpy(self.render([state for state, _ in drawn]))), [text for _, text in drawn]

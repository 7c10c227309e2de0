"""Draws scenes with torch, whole clips at a time, on a CPU or a CUDA device.

Layers lie on one another: background, landmarks, trails, objects, screen. Outlines are smoothed over one pixel by
their signed distance, and upright rectangles by how much of each pixel they cover, which is separable: all
landmarks together are one matrix product. Frames of all clips are rows of one canvas (R, 3, H, W), planar since a
long last axis is what a processor likes; one call draws one kind of outline in many rows.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from kinema_world.geometry import covered, distance
from kinema_world.motion import Floats
from kinema_world.scene import ClipShape, Scene, SceneShot, Track
from kinema_world.vocabulary import BACKGROUNDS, COLOURS, SCREEN_STRIPES, TRAIL_WIDTH

# Width of a stripe of the screen, in shares of the shorter side; the gap to the next is as wide.
_STRIPE: Final = 0.06
_TRAIL: Final = "trail"
# Channel values of clips drawn at once: on a CPU they should stay in its cache, on a device they should fill it.
_VALUES_ON_CPU: Final = 400_000
_VALUES_ON_DEVICE: Final = 50_000_000


def draw(scene: Scene, device: torch.device | str = "cpu") -> Tensor:
    """The clip, uint8 (T, H, W, 3) on `device`."""
    return draw_many([scene], device)[0]


def draw_many(scenes: Sequence[Scene], device: torch.device | str = "cpu") -> list[Tensor]:
    """Clips uint8 (T, H, W, 3) on `device` in the order of the scenes; those of one shape are drawn together."""
    device = torch.device(device)
    groups: dict[ClipShape, list[int]] = defaultdict(list)
    for index, scene in enumerate(scenes):
        groups[scene.shape].append(index)
    drawn: dict[int, Tensor] = {}
    values = _VALUES_ON_CPU if device.type == "cpu" else _VALUES_ON_DEVICE
    for shape, indices in groups.items():
        at_once = max(1, values // (3 * shape.frames * shape.height * shape.width))
        for first in range(0, len(indices), at_once):
            part = indices[first : first + at_once]
            drawn.update(zip(part, _draw([scenes[index] for index in part], device), strict=True))
    return [drawn[index] for index in range(len(scenes))]


def _draw(scenes: Sequence[Scene], device: torch.device) -> Tensor:
    """uint8 (B, T, H, W, 3) of clips of one shape."""
    shape = scenes[0].shape
    shots = [(number * shape.frames + shot.first, shot) for number, scene in enumerate(scenes) for shot in scene.shots]
    grid = _Grid.of(shape, device)
    canvas = torch.empty(len(scenes) * shape.frames, 3, shape.height, shape.width, device=device)
    for first, shot in shots:
        _draw_background(canvas[first : first + shot.frames], shot, grid)
    for layer in _layers(shots):
        _draw_layer(canvas, layer, grid)
    for first, shot in shots:
        _draw_screen(canvas[first : first + shot.frames], shot, grid)
    pixels = (canvas + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return pixels.view(len(scenes), shape.frames, shape.height, shape.width, 3)


@dataclass(frozen=True)
class _Grid:
    """Centres of the pixels: rows (H,) and columns (W,)."""

    rows: Tensor
    columns: Tensor
    device: torch.device

    @classmethod
    def of(cls, shape: ClipShape, device: torch.device) -> "_Grid":
        rows, columns = (
            torch.arange(length, dtype=torch.float32, device=device) + 0.5 for length in (shape.height, shape.width)
        )
        return cls(rows, columns, device)

    def tensor(self, values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.device)


def _draw_background(frames: Tensor, shot: SceneShot, grid: _Grid) -> None:
    """Fills frames (T, 3, H, W): the plain colour, and the landmarks where the camera has them in view."""
    plain = grid.tensor(BACKGROUNDS[shot.background])
    frames[:] = plain[:, None, None]
    if not shot.landmarks:
        return
    edges = np.array([(mark.left, mark.top, mark.right, mark.bottom) for mark in shot.landmarks])
    seen = grid.tensor(edges[None] - np.tile(shot.camera, 2)[:, None])
    across = _span(seen[..., 0], seen[..., 2], grid.columns)
    down = _span(seen[..., 1], seen[..., 3], grid.rows)
    colours = grid.tensor([mark.colour for mark in shot.landmarks]) - plain
    # Landmarks never touch, so their contributions add up: (T, 3, H, N) @ (T, 1, N, W).
    frames += (down[:, None].mT * colours.T[None, :, None]) @ across[:, None]


def _span(first: Tensor, last: Tensor, centres: Tensor) -> Tensor:
    """How much of each pixel (..., P) lies between two edges (...)."""
    upper = torch.minimum(last[..., None], centres + 0.5)
    return (upper - torch.maximum(first[..., None], centres - 0.5)).clamp_(0, 1)


@dataclass(frozen=True)
class _Layer:
    """One outline in many rows: places (R, 2), the run of a trail from its start (R, 2), radius and colour."""

    outline: str
    rows: tuple[range, ...]
    places: Floats
    starts: Floats
    radius: Floats
    colours: Floats


def _layers(shots: Sequence[tuple[int, SceneShot]]) -> Iterator[_Layer]:
    """What lies on the backgrounds, from the bottom up; a row occurs at most once in each layer."""
    stacks: dict[tuple[int, str], list[tuple[int, Track]]] = defaultdict(list)
    for first, shot in shots:
        for depth, track in enumerate(shot.tracks, start=1):
            if track.trail:
                stacks[0, _TRAIL].append((first, track))
            stacks[depth, track.appearance.shape].append((first, track))
    for (_, outline), members in sorted(stacks.items(), key=lambda item: item[0][0]):
        lengths = [len(track.positions) for _, track in members]
        trail = outline == _TRAIL
        radii = [track.appearance.radius * (TRAIL_WIDTH if trail else 1) for _, track in members]
        colours = [COLOURS[track.trail if trail and track.trail else track.appearance.colour] for _, track in members]
        yield _Layer(
            outline,
            tuple(range(first, first + length) for (first, _), length in zip(members, lengths, strict=True)),
            np.concatenate([track.positions for _, track in members]),
            np.repeat([track.positions[0] for _, track in members], lengths, axis=0),
            np.repeat(radii, lengths),
            np.repeat(np.array(colours, dtype=np.float64), lengths, axis=0),
        )


def _draw_layer(canvas: Tensor, layer: _Layer, grid: _Grid) -> None:
    radius = grid.tensor(layer.radius)[:, None, None]
    if layer.outline == _TRAIL:
        signed = _trail_distance(layer, grid) - radius
    else:
        places = grid.tensor(layer.places)
        rows = (grid.rows - places[:, 1, None])[:, :, None]
        columns = (grid.columns - places[:, 0, None])[:, None]
        signed = distance(layer.outline, rows, columns, radius)
    alpha = covered(signed)[:, None]
    colours = grid.tensor(layer.colours)[:, :, None, None]
    if len(layer.rows) == 1:
        canvas[layer.rows[0].start : layer.rows[0].stop].lerp_(colours, alpha)
    else:
        which = torch.tensor([row for span in layer.rows for row in span], device=grid.device)
        canvas[which] = canvas[which].lerp_(colours, alpha)


def _trail_distance(layer: _Layer, grid: _Grid) -> Tensor:
    """Distance (R, H, W) to the line from the start of each trail to where its brush is; brushes move along an axis."""
    middle, half = grid.tensor((layer.places + layer.starts) / 2), grid.tensor(abs(layer.places - layer.starts) / 2)
    beyond_rows = ((grid.rows - middle[:, 1, None]).abs() - half[:, 1, None]).clamp_(min=0)
    beyond_columns = ((grid.columns - middle[:, 0, None]).abs() - half[:, 0, None]).clamp_(min=0)
    return torch.hypot(beyond_rows[:, :, None], beyond_columns[:, None])


def _draw_screen(frames: Tensor, shot: SceneShot, grid: _Grid) -> None:
    """The striped screen over frames (T, 3, H, W)."""
    if shot.screen is None:
        return
    edges = grid.tensor((shot.screen.left, shot.screen.top, shot.screen.right, shot.screen.bottom))
    alpha = _span(edges[1], edges[3], grid.rows)[:, None] * _span(edges[0], edges[2], grid.columns)
    stripe = _STRIPE * min(len(grid.rows), len(grid.columns))
    # Stripes run across the screen, wherever its longer side points.
    upright = shot.screen.bottom - shot.screen.top >= len(grid.rows)
    places = grid.rows[:, None] if upright else grid.columns[None]
    striped = covered(((places % (2 * stripe)) - stripe).abs() - stripe / 2)
    plain, other = (grid.tensor(colour)[:, None, None] for colour in (shot.screen.colour, SCREEN_STRIPES))
    frames.lerp_(plain + striped * (other - plain), alpha)

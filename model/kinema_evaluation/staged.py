"""Changed scenes: another appearance, a longer trajectory, and the region that holds a trajectory."""

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kinema_world import COLOURS, SHAPES, Scene
from kinema_world.captions import captions_of
from kinema_world.casting import inside
from kinema_world.motion import bouncing
from kinema_world.scene import facts_of

_MARGIN: Final = 1.0


def with_new_appearance(scene: Scene, *, shape_too: bool) -> Scene:
    """The scene with its first object in a colour that is not in it and, with `shape_too`, in another shape."""
    shot, *rest = scene.shots
    first, *others = shot.tracks
    used = {track.appearance.colour for track in scene.tracks}
    palette = list(COLOURS)
    start = palette.index(first.appearance.colour)
    colour = next(c for c in palette[start:] + palette[:start] if c not in used)
    shape = SHAPES[(SHAPES.index(first.appearance.shape) + 1) % len(SHAPES)] if shape_too else first.appearance.shape
    changed = replace(first, appearance=replace(first.appearance, colour=colour, shape=shape))
    shots = (replace(shot, tracks=(changed, *others)), *rest)
    return replace(scene, shots=shots, captions=captions_of(facts_of(scene.kind, shots)))


def with_appearance_of(scene: Scene, other: Scene) -> Scene:
    """The scene with its first object in the colour and shape of another scene's first one."""
    shot, *rest = scene.shots
    first, *others = shot.tracks
    wanted = other.shots[0].tracks[0].appearance
    # No two objects of a scene share a colour: who has it takes that which becomes free.
    swapped = tuple(
        replace(track, appearance=replace(track.appearance, colour=first.appearance.colour))
        if track.appearance.colour == wanted.colour
        else track
        for track in others
    )
    dressed = replace(first, appearance=replace(first.appearance, colour=wanted.colour, shape=wanted.shape))
    shots = (replace(shot, tracks=(dressed, *swapped)), *rest)
    return replace(scene, shots=shots, captions=captions_of(facts_of(scene.kind, shots)))


def named(scene: Scene) -> str:
    """A prompt that names the first object of a scene and nothing that it does."""
    appearance = scene.shots[0].tracks[0].appearance
    return f"a {appearance.colour} {appearance.shape}"


def going_on(scene: Scene, first: int, frames: int) -> Scene:
    """Frames [first, first + frames) of a scene of one bouncing object, whose trajectory has no end."""
    (shot,), shape = scene.shots, replace(scene.shape, frames=frames)
    (track,) = shot.tracks
    times = (first + np.arange(frames)) / shape.fps
    trajectory = bouncing(track.positions[0], track.velocities[0], inside(track.appearance, shape), times)
    moved = replace(
        track,
        positions=trajectory.positions,
        world_positions=trajectory.positions,
        velocities=trajectory.velocities,
        visible=np.ones(frames),
        hidden_by=(None,) * frames,
    )
    still = np.zeros((frames, 2))
    return replace(scene, shape=shape, shots=(replace(shot, frames=frames, tracks=(moved,), camera=still),))


def region(scene: Scene, other: Scene) -> Tensor:
    """A box around the trajectory of the first object in both scenes: bool (T, H, W), True inside."""
    shape = scene.shape
    lows, highs = [], []
    for track in (scene.shots[0].tracks[0], other.shots[0].tracks[0]):
        left, right, top, bottom = track.appearance.extents
        lows.append(track.positions.min(axis=0) - np.array([left, top]) - _MARGIN)
        highs.append(track.positions.max(axis=0) + np.array([right, bottom]) + _MARGIN)
    first = np.maximum(np.floor(np.min(lows, axis=0)).astype(int), 0)
    end = np.maximum(np.ceil(np.max(highs, axis=0)).astype(int), 0)
    mask = torch.zeros(shape.frames, shape.height, shape.width, dtype=torch.bool)
    mask[:, first[1] : end[1], first[0] : end[0]] = True
    return mask


def far_outside(mask: Tensor, reach: int) -> Tensor:
    """Pixels bool (T, H, W) further than `reach` px from a mask (T, H, W), where a clip must equal its source."""
    return F.max_pool2d(mask.float()[:, None], 2 * reach + 1, 1, reach)[:, 0] == 0

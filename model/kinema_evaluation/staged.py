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
from kinema_world.scene import Rectangle, facts_of, visible_share
from kinema_world.vocabulary import SCREEN

_MARGIN: Final = 1.0
# Of the speed in the world, with which an object is hidden about the middle of the clip.
_FASTER: Final = (0.9, 2.0)
# Frames for which an object that hides is wholly seen before it, and wholly hidden and wholly seen after it.
_SEEN_BEFORE: Final = 3
_LEAST_HIDDEN: Final = 3
_SEEN_AFTER: Final = 2


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


def hiding(scene: Scene, draw: np.random.Generator) -> Scene | None:
    """A scene of the kind occlude with another speed and another screen, None where the frame has no room for them.

    Scenes of the world stay in the frame to the end of the clip, so nearly all of them hide their object at one moment
    and for as long. Here it may leave the frame once it has been seen again.
    """
    shot, shape = scene.shots[0], scene.shape
    (track,) = shot.tracks
    axis = 0 if track.heading in ("left", "right") else 1
    extent = (shape.width, shape.height)[axis]
    before, after = track.appearance.extents[2 * axis : 2 * axis + 2]
    sign = float(np.sign(track.velocities[0][axis]))
    # As if all went to the right or downwards, from the near side of the frame.
    tail, nose = (before, after) if sign > 0 else (after, before)
    step = float(np.linalg.norm(track.velocities[0])) / shape.fps * draw.uniform(*_FASTER)
    thinnest, least_clear = tail + nose + (_LEAST_HIDDEN + 1) * step, nose + tail + _SEEN_AFTER * step
    room = extent - least_clear - (tail + nose + _SEEN_BEFORE * step)
    if room < thinnest:
        return None
    thickness = draw.uniform(thinnest, room)
    begin = draw.uniform(extent - least_clear - room, extent - least_clear - thickness)
    start = draw.uniform(tail, begin - nose - _SEEN_BEFORE * step)
    if (begin + thickness + tail + _SEEN_AFTER * step - start) / step > shape.frames - 1:
        return None
    near, far = (begin, begin + thickness) if sign > 0 else (extent - begin - thickness, extent - begin)
    screen = (
        Rectangle(near, 0, far, shape.height, SCREEN) if axis == 0 else Rectangle(0, near, shape.width, far, SCREEN)
    )
    path = np.repeat(track.positions[:1], shape.frames, axis=0)
    along = start + step * np.arange(shape.frames)
    path[:, axis] = along if sign > 0 else extent - along
    velocity = np.zeros(2)
    velocity[axis] = sign * step * shape.fps
    moved = replace(
        track,
        positions=path,
        world_positions=path,
        velocities=np.broadcast_to(velocity, path.shape),
        visible=visible_share(track.appearance, path, screen, shape),
    )
    return replace(scene, shots=(replace(shot, tracks=(moved,), screen=screen),))


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

"""Clips made on the fly from (seed, index): nothing is stored, and a resumed run sees the same clips.

The content of a scene is drawn from one RNG stream, its kind and shape from another. So a world of one kind and one
shape draws the same scenes, whatever its config says of other kinds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor

from kinema_model.rng import RngStream, generator
from kinema_world.captions import captions_of, draw_style
from kinema_world.config import ShapeMix, WorldConfig
from kinema_world.drawing import draw as draw_scene
from kinema_world.drawing import draw_many
from kinema_world.errors import WorldConfigError
from kinema_world.moving import make_bounce, make_collide, make_gravity, make_several, make_simple
from kinema_world.scene import ClipShape, Scene, SceneShot, facts_of
from kinema_world.splits import Split, combination_held_out, fits, speed_held_out
from kinema_world.staging import make_image, make_occlude, make_paint, make_pan, make_two_shot
from kinema_world.vocabulary import Motion, SceneKind, Video

Maker = Callable[[np.random.Generator, ClipShape], tuple[SceneShot, ...] | None]
MAKERS: Final[dict[SceneKind, Maker]] = {
    SceneKind.SIMPLE: make_simple,
    SceneKind.SEVERAL: make_several,
    SceneKind.BOUNCE: make_bounce,
    SceneKind.GRAVITY: make_gravity,
    SceneKind.COLLIDE: make_collide,
    SceneKind.OCCLUDE: make_occlude,
    SceneKind.PAN: make_pan,
    SceneKind.PAINT: make_paint,
    SceneKind.TWO_SHOT: make_two_shot,
    SceneKind.IMAGE: make_image,
}
# Far more than any kind needs in any shape; a scene that is not found by then does not exist.
_MOST_DRAWS: Final = 8_000
# After so many draws the shape is drawn anew: some splits leave few scenes of some kinds in some shapes.
_DRAWS_PER_SHAPE: Final = 400
_REMEMBERED: Final = 1024


@dataclass(frozen=True)
class DrawnClip:
    """One sample: video uint8 (T, H, W, 3), its caption, and its truth."""

    video: Video
    caption: str
    scene: Scene


class World:
    """Scenes and clips of a `WorldConfig`, deterministic by (seed, index)."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        wanted = config.wanted
        weights = np.array([config.kinds[kind] for kind in wanted])
        self._kinds, self._weights = wanted, weights / weights.sum()
        self._scene = lru_cache(maxsize=_REMEMBERED)(self._made)

    @classmethod
    def fixed(cls, seed: int, frames: int, height: int, width: int, fps: int) -> Self:
        """Simple scenes of one shape with nothing held out: one coloured shape moves over black."""
        shapes = ShapeMix.fixed(frames, height, width, fps)
        return cls(WorldConfig(seed=seed, split="all", kinds={SceneKind.SIMPLE: 1.0}, shapes=shapes))

    def scene(self, index: int) -> Scene:
        """The truth and the captions of clip `index`, without drawing it.

        Raises:
            WorldConfigError: the split leaves nothing of the kind that was drawn.
        """
        return self._scene(index)

    def _made(self, index: int) -> Scene:
        plan = generator(RngStream.WORLD_PLAN, self.config.seed, index)
        draw = generator(RngStream.WORLD, self.config.seed, index)
        kind = self._kinds[int(plan.choice(len(self._kinds), p=self._weights))]
        for attempt in range(_MOST_DRAWS):
            if attempt % _DRAWS_PER_SHAPE == 0:
                shape = self.config.shapes.draw(plan, kind)
            shots = MAKERS[kind](draw, shape)
            if shots is not None and belongs(shots, self.config.split):
                return _told(kind, shape, shots, draw)
        raise WorldConfigError(f"kinds has {kind.value!r}, of which split and shapes leave nothing. Widen the shapes.")

    def shape(self, index: int) -> ClipShape:
        """The shape of clip `index`, for planning. Raises `WorldConfigError`.

        It takes about a millisecond, since the whole scene is made: a kind of which a split leaves few scenes may draw
        its shape again. The scene is cached until the clip is drawn.
        """
        return self.config.only_shape or self.scene(index).shape

    def sample(self, index: int) -> DrawnClip:
        """Clip `index` with its short caption. Raises `WorldConfigError`."""
        scene = self.scene(index)
        return DrawnClip(draw_scene(scene).numpy(), scene.captions.short, scene)

    def clips(self, indices: Sequence[int], device: torch.device | str = "cpu") -> list[tuple[Tensor, Scene]]:
        """Videos uint8 (T, H, W, 3) on `device`, each of its own shape, with their scenes."""
        scenes = [self.scene(index) for index in indices]
        return list(zip(draw_many(scenes, device), scenes, strict=True))


def belongs(shots: tuple[SceneShot, ...], split: Split) -> bool:
    """Whether shots belong to a split."""
    tracks = [track for shot in shots for track in shot.tracks]
    combinations = [
        combination_held_out(
            track.appearance.colour, track.appearance.shape, track.motion or Motion.STILL, track.heading
        )
        for track in tracks
    ]
    speeds = [track.speed for track in tracks] + [shot.pan_speed for shot in shots]
    return fits(split, combinations, [speed_held_out(speed) for speed in speeds if speed is not None])


def _told(kind: SceneKind, shape: ClipShape, shots: tuple[SceneShot, ...], draw: np.random.Generator) -> Scene:
    return Scene(kind, shape, shots, captions_of(facts_of(kind, shots), draw_style(draw)))

"""The world as a source of training clips."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from torch import Tensor

from kinema_model.source import Clip
from kinema_world.scene import ClipShape, Scene
from kinema_world.stored import texts_of, world_files
from kinema_world.world import World

# Beyond every seed that a training can have, so that no training has seen these clips.
_VALIDATION_SEED: Final = 2**40 + 1


class WorldSource:
    """A `kinema_model.source.Source` of a world's clips; `world` has their scenes."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def digest(self) -> str:
        """`sha256:...` of the world's settings, which fix every clip."""
        return f"sha256:{sha256(self.world.config.model_dump_json().encode()).hexdigest()}"

    def shape(self, index: int) -> ClipShape:
        """As `World.shape`. Raises `WorldConfigError`."""
        return self.world.shape(index)

    def largest_shapes(self) -> list[ClipShape]:
        """The longest clips of every size."""
        return self.world.config.largest_shapes()

    def clips(self, indices: Sequence[int]) -> list[Clip]:
        """As `World.clips`, with captions and cuts. Raises `WorldConfigError`."""
        return _told(self.world.clips(indices))

    def validation(self, count: int) -> list[Clip]:
        """The first clips of the same kinds and shapes under a seed that no training has. Raises `WorldConfigError`."""
        return _told(World(self.world.config.model_copy(update={"seed": _VALIDATION_SEED})).clips(range(count)))

    def texts(self) -> Iterable[str]:
        """As `stored.texts_of`."""
        return texts_of(self.world.config)

    def files(self) -> Mapping[str, str]:
        """As `stored.world_files`."""
        return world_files(self.world.config)


def _told(clips: Sequence[tuple[Tensor, Scene]]) -> list[Clip]:
    return [
        Clip(video, scene.shape.fps, scene.captions, tuple(shot.first for shot in scene.shots))
        for video, scene in clips
    ]

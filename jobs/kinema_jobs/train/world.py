"""From a training's choice of data to the world it is shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from kinema_api.data import WorldData
from kinema_jobs.train.failures import BadConfiguration
from kinema_model.config import ModelConfig
from kinema_model.errors import ModelError
from kinema_model.world import SceneKind, ShapeMix, World, WorldConfig
from kinema_model.world.scene import Scene


class TimedWorld(World):
    """A world that knows how long clips have been waited for."""

    waited = 0.0

    @classmethod
    def of(cls, data: WorldData, model: ModelConfig) -> Self:
        """Clips of the model's own shape; simple scenes alone hold nothing back, any other mix is the split "train".

        Raises:
            BadConfiguration: a kind of scene cannot be shown in such a clip.
        """
        size = (model.frames, model.height, model.width_px, model.fps)
        try:
            if data.scenes.plain:
                return cls.fixed(data.seed, *size)
            kinds = {SceneKind(name): weight for name, weight in data.scenes.weights().items()}
            return cls(WorldConfig(seed=data.seed, split="train", kinds=kinds, shapes=ShapeMix.fixed(*size)))
        except ModelError as error:
            raise BadConfiguration(
                f"data.world.scenes do not fit the clip of the preset {model.preset!r}, {model.frames} frames of "
                f"{model.width_px}x{model.height} px at {model.fps} fps: {error} Choose another preset, or leave out "
                "what does not fit"
            ) from None

    def clips(self, indices: Sequence[int], device: torch.device | str = "cpu") -> list[tuple[Tensor, Scene]]:
        """As `World.clips`."""
        began = time.perf_counter()
        try:
            return super().clips(indices, device)
        finally:
            self.waited += time.perf_counter() - began

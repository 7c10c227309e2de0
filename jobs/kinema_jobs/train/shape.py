"""From a training's choice of model to the model package's config; imports no torch, so that it is checked first."""

from __future__ import annotations

from typing import Any

from kinema_api.run import RunConfig
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig


def model_config_of(config: RunConfig) -> ModelConfig:
    """The shape of the network. Raises ModelError."""
    chosen = config.model
    changes: dict[str, Any] = chosen.overrides.model_dump(exclude_none=True) if chosen.overrides else {}
    if size := changes.pop("size", None):
        changes["width_px"], changes["height"] = (int(side) for side in size.split("x"))
    if chosen.streaming:
        # Absolute places in time mean nothing in a clip whose length is open.
        changes |= {"streaming": chosen.streaming.model_dump(), "places": "space"}
    world = config.data.world
    pictures = (Task.PICTURE,) if world.scenes.image > 0 else ()
    rates = tuple(sorted(set(world.shapes.fps))) if world.shapes else ()
    return ModelConfig.from_preset(chosen.preset, tasks=(*task_mix_of(config), *pictures), rates=rates, **changes)


def task_mix_of(config: RunConfig) -> dict[Task, float]:
    """The tasks that are trained, with their weights."""
    return {Task(name): weight for name, weight in config.data.tasks.weights().items() if weight > 0}

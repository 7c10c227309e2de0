"""The model config of a training's spec. Imports no torch, so that a bad spec is refused before torch is loaded."""

from __future__ import annotations

import math
from typing import Any, Final

from kinema_api.data import MAX_CLIP_FRAMES, MAX_CLIP_SIDE, ClipShapes, Data
from kinema_api.launch import clip_target
from kinema_api.prepare import ClipTarget
from kinema_api.run import RunConfig
from kinema_api.training import ModelChoice
from kinema_model.conditions.tasks import Task
from kinema_model.config import PRESETS, ModelConfig

WIDEST_ASPECT: Final = 4
"""Aspect ratio up to which a model of recorded clips renders clips of its own area."""


def model_config_of(config: RunConfig, base: ModelConfig | None = None) -> ModelConfig:
    """The shape of the network: that of its preset or of its base, with overrides. Raises ModelError."""
    chosen = config.model
    changes: dict[str, Any] = chosen.overrides.model_dump(exclude_none=True) if chosen.overrides else {}
    if size := changes.pop("size", None):
        changes["width_px"], changes["height"] = (int(side) for side in size.split("x"))
    world = config.data.world
    changes |= _limits(chosen, world.shapes if world else None, base, recorded=bool(config.data.videos))
    if chosen.streaming:
        # Absolute positions in time mean nothing in a clip of open length.
        changes |= {"streaming": chosen.streaming.model_dump(), "places": "space"}
    pictures = (Task.PICTURE,) if _has_pictures(config.data) else ()
    rates = tuple(sorted(set(world.shapes.fps))) if world and world.shapes else ()
    changes |= {"tasks": (*task_mix_of(config), *pictures), "rates": rates}
    if base is not None:
        return base.with_fields(**changes)
    return ModelConfig.from_preset(str(chosen.preset), **changes)


def own_clip(model: ModelConfig) -> ClipTarget:
    """The shape of a model's own clip."""
    return ClipTarget(frames=model.frames, pixels=model.height * model.width_px, fps=model.fps, cell=model.grid.cell)


def _has_pictures(data: Data) -> bool:
    """Whether clips of one frame are among the data."""
    drawn = data.world is not None and data.world.scenes.image > 0
    return drawn or any(clips.filters.min_frames == 1 for clips in data.videos)


def _limits(chosen: ModelChoice, shapes: ClipShapes | None, base: ModelConfig | None, recorded: bool) -> dict[str, int]:
    """Limits of the model's clips above those of preset or base, where the spec asks for longer or larger ones. They
    have bounds of the API alone: what fits into memory is for the trainer to say."""
    usual = base or PRESETS[str(chosen.preset)]
    size = (chosen.overrides and chosen.overrides.size) or ""
    sides = [int(side) for side in size.split("x") if side] + [(shapes and shapes.max_side) or 0]
    if recorded:
        # Recorded clips have the area of the model's own clip at their own aspect ratio.
        sides.append(math.isqrt(clip_target(chosen, own_clip(usual)).pixels * WIDEST_ASPECT))
    lengths = [(chosen.overrides and chosen.overrides.frames) or 0, *(shapes.frames if shapes else ())]
    wanted = {"max_side": min(max(sides), MAX_CLIP_SIDE), "max_frames": min(max(lengths), MAX_CLIP_FRAMES)}
    return {name: value for name, value in wanted.items() if value > getattr(usual, name)}


def task_mix_of(config: RunConfig) -> dict[Task, float]:
    """The trained tasks with their weights."""
    return {Task(name): weight for name, weight in config.data.tasks.weights().items() if weight > 0}

"""The world of a training's spec as a source of clips; the only module of the trainer that uses the world."""

from __future__ import annotations

from typing import Any

from kinema_api.data import ClipShapes, WorldData
from kinema_jobs.train.failures import BadConfiguration
from kinema_model.config import ModelConfig
from kinema_world import SceneKind, ShapeMix, World, WorldConfig
from kinema_world.errors import ClipError, WorldError
from kinema_world.source import WorldSource


def source_of(data: WorldData, model: ModelConfig) -> WorldSource:
    """The source of training clips: those of the split "train", so that evaluations have captions it never showed.

    Raises:
        BadConfiguration: a kind of scene does not fit these clips, or the model's own shape is not among them.
    """
    kinds = {SceneKind(name): weight for name, weight in data.scenes.weights().items()}
    try:
        shapes = shapes_of(data.shapes, model)
        return WorldSource(World(WorldConfig(seed=data.seed, split="train", kinds=kinds, shapes=shapes)))
    except WorldError as error:
        raise BadConfiguration(
            f"data.world.scenes and shapes do not fit the clip of the preset {model.preset!r}, {model.frames} "
            f"frames of {model.width_px}x{model.height} px at {model.fps} fps: {error} Choose another preset or "
            "model.overrides, or leave out what does not fit"
        ) from None


def shapes_of(chosen: ClipShapes | None, model: ModelConfig) -> ShapeMix:
    """The shapes of a run's clips; unset fields are those of the model's own clip. Raises WorldError."""
    own = ShapeMix.fixed(model.frames, model.height, model.width_px, model.fps)
    if chosen is None:
        return own
    changes: dict[str, Any]
    if chosen.min_side and chosen.max_side:
        changes = {"sides": (chosen.min_side, chosen.max_side), "patch": model.grid.cell[1:]}
    else:
        changes = own.model_dump(include={"sides", "aspects", "patch"})
    mix = ShapeMix(frames=chosen.frames or own.frames, fps=chosen.fps or own.fps, **changes)
    if model.frames not in mix.frames or model.fps not in mix.fps or (model.height, model.width_px) not in mix.sizes:
        raise ClipError("The model's own clip is not among data.world.shapes.")
    if max(mix.frames) > model.max_frames or mix.sides[1] > model.max_side:
        raise ClipError(f"The model takes clips of at most {model.max_frames} frames and {model.max_side} px.")
    return mix

"""Settings of the proof: everything that changes a figure, from the environment.

A preset is changed for the proof: it streams, is trained on the tasks that are judged, and on the full world in several
lengths, rates and sizes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from kinema_evaluation import EVALUATION_STEPS
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig
from kinema_model.errors import ConfigError
from kinema_world import ShapeMix, WorldConfig

TASKS: Final = {Task.TEXT: 0.5, Task.IMAGE: 0.1, Task.EXTEND: 0.3, Task.FILL: 0.1}
STREAMING_SHARE: Final = 0.4
RICH_CAPTIONS: Final = 0.3
POINTS: Final[Mapping[str, float]] = {"1x": 1 / 32, "4x": 4 / 32, "32x": 1.0}
"""Compute points: shares of the training seconds at which its weights are kept."""
FINAL: Final = "32x"
_LEAST_CLIPS: Final = 2
# Below this the first and the last ten seconds of a stream would not both be whole.
_LEAST_STREAM: Final = 10.0


@dataclass(frozen=True)
class Lesson:
    """A preset as the proof trains it: changes to its config, the shapes that it sees, and its learning rate."""

    changes: Mapping[str, Any]
    shapes: ShapeMix
    rate: float


LESSONS: Final[Mapping[str, Lesson]] = {
    "small": Lesson(
        {"streaming": {"chunk_frames": 8, "window_chunks": 3, "reference_frames": 2}},
        ShapeMix(frames=(16, 24, 32), sides=(48, 80)),
        1e-3,
    ),
    # For rehearsals: as little as still shows every kind of scene.
    "tiny": Lesson(
        {
            "frames": 16,
            "height": 32,
            "width_px": 32,
            "streaming": {"chunk_frames": 8, "window_chunks": 2, "reference_frames": 2},
        },
        ShapeMix(frames=(16, 20), fps=(8, 12), sides=(32, 40)),
        3e-3,
    ),
}


def number(name: str, default: float, environment: Mapping[str, str] = os.environ) -> float:
    """PROOF_<name>. Raises `ConfigError` where it is no number above 0."""
    text = environment.get(f"PROOF_{name}", str(default))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"PROOF_{name} is {text!r}. Give a number above 0.")
    return value


@dataclass(frozen=True)
class Settings:
    """All that changes a figure; seconds and clips are already scaled."""

    preset: str
    device: str
    compiled: bool
    seconds: float
    """Of training."""
    tokens: int
    """Of a step."""
    rate: float
    clips: int
    stream_seconds: float
    steps: int
    """Of the sampler."""
    seed: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises `ConfigError` for a preset that the proof has no lesson for, or numbers that are none."""
        gpu = torch.cuda.is_available()
        preset = environment.get("PROOF_PRESET", "small")
        if preset not in LESSONS:
            raise ConfigError(f"PROOF_PRESET is {preset!r}. Choose one of: {', '.join(sorted(LESSONS))}.")

        of = partial(number, environment=environment)
        scale = of("SCALE", 1)
        return cls(
            preset=preset,
            device="cuda" if gpu else "cpu",
            compiled=environment.get("PROOF_COMPILE", "1" if gpu else "0") == "1",
            seconds=scale * of("SECONDS", 480),
            tokens=int(of("TOKENS", 32768 if gpu else 4096)),
            rate=of("RATE", LESSONS[preset].rate),
            clips=max(_LEAST_CLIPS, round(scale * of("CLIPS", 128))),
            stream_seconds=max(_LEAST_STREAM, scale * of("STREAM_SECONDS", 60)),
            steps=int(of("STEPS", EVALUATION_STEPS)),
            seed=int(of("SEED", 1)),
        )

    @property
    def config(self) -> ModelConfig:
        """The model."""
        lesson = LESSONS[self.preset]
        tasks = (*TASKS, Task.PICTURE)
        return ModelConfig.from_preset(
            self.preset, places="space", tasks=tasks, rates=lesson.shapes.fps, **lesson.changes
        )

    @property
    def world(self) -> WorldConfig:
        """All kinds of scenes, without what is held out."""
        return WorldConfig(seed=self.seed, split="train", shapes=LESSONS[self.preset].shapes)

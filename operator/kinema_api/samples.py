"""Clips that a training makes of itself while it runs, so that a person sees what it learns."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from kinema_api.base import ApiModel
from kinema_api.clip import Prompt

MAX_SAMPLE_PROMPTS: Final = 8


class TrainingSamples(ApiModel):
    """Clips of stated prompts, made with the averaged weights as requests for clips are. They are written below the
    attempt, marked as not reviewed, and deleted when the model has been published."""

    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_SAMPLE_PROMPTS)]
    """What the clips show; each has the same noise every time."""
    every_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Optimizer steps between two sets of clips; training waits while they are made."""

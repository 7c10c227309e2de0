"""What servers and the local command use of a model, whether Kinema trained it or its weights are open ones.

`kinema_jobs.clip.rendering` and `kinema_jobs.clip.open_weights` implement it; `kinema_jobs.clip.loading` chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from kinema_api.clip import DEFAULT_STRENGTHS, ClipRequest
from kinema_api.wire import EncodedPrompt
from kinema_jobs.clip.inputs import Work
from kinema_jobs.clip.media import Video, check_frame_size
from kinema_model.conditions.conditioning import Seam
from kinema_model.conditions.tasks import Task
from kinema_world.expansion import Expansion

OnStep = Callable[[int, int], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class ResolvedRequest:
    """A clip request with its seed, the model's defaults and, if requested, its expanded prompt."""

    clip: ClipRequest
    seed: int
    steps: int
    guidance_scale: float
    guidance_scale_2: float | None = None
    """Of the second network of two; None: `guidance_scale`."""
    expansion: Expansion | None = None
    """The expanded prompt that the model encodes instead of the prompt, if requested."""

    @property
    def heard(self) -> str:
        """The prompt that the model encodes."""
        return self.expansion.rich if self.expansion else self.clip.prompt

    @property
    def strength(self) -> float | None:
        """How strongly an edit or a blend changes its input; None: the task has no strength."""
        usual = DEFAULT_STRENGTHS.get(self.clip.task)
        return usual if self.clip.strength is None else self.clip.strength


@dataclass(frozen=True)
class OutputShape:
    """A clip's extent: frames, pixels, frames per second."""

    frames: int
    height: int
    width: int
    fps: float

    @property
    def seconds(self) -> float:
        """Exact length of the clip."""
        return self.frames / self.fps

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class Rendered:
    """A clip uint8 (T, H, W, 3), and how well it meets its inputs at their seams."""

    video: Video
    seams: tuple[Seam, ...] = ()


@dataclass(frozen=True)
class Defaults:
    """What a request has that leaves it to the model."""

    steps: int
    guidance_scale: float
    guidance_scale_2: float | None = None
    """Where the request names neither scale; None: that of the first."""


class ClipModel(Protocol):
    """A model in memory. Methods raise `ModelError` for what it can never render, saying what it can."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def defaults(self) -> Defaults:
        """What requests have that say nothing."""

    @property
    def largest_input(self) -> int:
        """Longest side in pixels of an input."""

    @property
    def has_expansion_rules(self) -> bool:
        """Whether prompts can be expanded without a language model, by rules for what it was trained on."""

    def check(self, clip: ClipRequest) -> None:
        """Refuse a request whose task or options it does not have."""

    def output_shape(self, clip: ClipRequest, task: Task, input_size: tuple[int, int] | None = None) -> OutputShape:
        """The clip that it renders; without a requested size that of the input, (height, width), if there is one."""

    def warnings(self, shape: OutputShape) -> tuple[str, ...]:
        """What may make a clip of this shape worse."""

    def render(
        self, request: ResolvedRequest, work: Work, shape: OutputShape, on_step: OnStep, should_stop: ShouldStop
    ) -> Rendered:
        """Denoise and decode one clip.

        Raises `SamplingStopped` once `should_stop` returns True, and `MemoryShort` for a clip that does not fit into
        memory now.
        """

    def encoded(self, prompts: list[str]) -> EncodedPrompt:
        """How it encodes the prompts of a clip's shots."""


def check_size(request: ClipRequest) -> None:
    """Raise `ShapeError` for a size that no model's clips can have, since it cannot be encoded."""
    if request.size is not None:
        width, height = parse_size(request.size)
        check_frame_size(height, width)


def parse_size(size: str) -> tuple[int, int]:
    """WIDTHxHEIGHT -> (width, height)."""
    width, _, height = size.partition("x")
    return int(width), int(height)

"""Recorded clips as an evaluation needs them: some of the training, some held out, as small as measures look at them.

Clips of the model are asked for by the captions of held-out clips and cut to the same length and size, so that a
measure sees the same of both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from torch.nn import functional as F

from kinema_evaluation.plan import EvaluationContext, SkippedSection
from kinema_model.conditions.tasks import Task
from kinema_model.source import Clip, Source
from kinema_world import ClipShape, Video

LONGEST: Final = 96
"""Longer side in pixels of what is measured."""
_TRAINING_PER_CLIP: Final = 4
_LEAST_FRAMES: Final = 4
_LEAST_CLIPS: Final = 2
_NO_CLIPS: Final = (
    "The model was not trained on recorded clips, or they are not at hand: spec.evaluation and `kinema evaluate "
    "--dataset` measure them."
)
_BENCH: Final = "recorded"


@dataclass(frozen=True)
class RecordedData:
    """The recorded clips that a model was trained on, and by what some are held out: input, segment or nothing."""

    source: Source
    held_out_by: str = "input"


@dataclass(frozen=True)
class ShrunkClip:
    """A recorded clip uint8 (T, H, W, 3) as measures see it, with its caption."""

    video: Video
    caption: str


class RecordedBench:
    """Training clips, held-out clips and the model's clips by the captions of these, made when they are asked for."""

    def __init__(self, context: EvaluationContext, data: RecordedData) -> None:
        self._context, self.data = context, data
        config = context.model.config
        scale = min(1.0, LONGEST / max(config.height, config.width_px))
        self._size = (max(8, round(config.height * scale)), max(8, round(config.width_px * scale)))
        self.raw_held_out = list(data.source.validation(context.plan.clips))
        lengths = sorted(_frames_at(clip, config.fps) for clip in self.raw_held_out)
        # Half of the clips are at least so long.
        self.frames = min(config.frames, lengths[len(lengths) // 2]) if lengths else 0

    @cached_property
    def held_out(self) -> list[ShrunkClip]:
        """The clips that no training step had, as far as they are long enough."""
        return list(self._shown(self.raw_held_out))

    @cached_property
    def training(self) -> list[ShrunkClip]:
        """Clips of the training, read one after the other."""
        numbers = range(_TRAINING_PER_CLIP * self._context.plan.clips)
        return list(self._shown(clip for number in numbers for clip in self.data.source.clips([number])))

    @property
    def prompts(self) -> list[str]:
        """Captions of held-out clips, each as often as it takes to ask for the clips of the plan."""
        captions = [shown.caption for shown in self.held_out]
        return [captions[number % len(captions)] for number in range(self._context.plan.clips)]

    @cached_property
    def made(self) -> list[Video]:
        """The model's clip of each prompt, uint8 (T, H, W, 3), as measures see it. Raises `ModelError`."""
        own = self._context.shape
        shape = ClipShape(own.frames, own.height, own.width, own.fps)
        clips = self._context.draw(self.prompts, [shape] * len(self.prompts))
        return [resized(clip[: self.frames], *self._size) for clip in clips]

    def of_other_source(self, count: int) -> list[Video]:
        """Clips of the synthetic world in the same length and size, for the curve of another source."""
        world = self._context.stranger()
        return [resized(np.asarray(world.sample(number).video), *self._size)[: self.frames] for number in range(count)]

    def _shown(self, clips: Sequence[Clip] | Iterator[Clip]) -> Iterator[ShrunkClip]:
        rate = self._context.model.config.fps
        for clip in clips:
            stride = max(1, round(clip.fps / rate))
            frames = clip.video.numpy()[::stride][: self.frames]
            if len(frames) == self.frames:
                yield ShrunkClip(resized(frames, *self._size), clip.captions.short)


def spread_over(clips: Sequence[ShrunkClip], count: int) -> list[Video]:
    """At most `count` of the clips, spread evenly over them: their order may be that of their sources."""
    few = min(count, len(clips))
    return [clips[number * len(clips) // few].video for number in range(few)]


def bench_of(context: EvaluationContext) -> RecordedBench:
    """The bench that all sections of an evaluation share.

    Raises `SkippedSection` without recorded clips, or where too few of them are held out and long enough.
    """
    if context.recorded is None:
        raise SkippedSection(_NO_CLIPS)
    bench = context.kept.get(_BENCH)
    if not isinstance(bench, RecordedBench):
        bench = context.kept[_BENCH] = RecordedBench(context, context.recorded)
    if bench.frames < _LEAST_FRAMES:
        raise SkippedSection(f"Half of the held-out clips have fewer than {_LEAST_FRAMES} frames at the model's rate.")
    if len(bench.held_out) < _LEAST_CLIPS:
        raise SkippedSection("Fewer than two held-out clips are as long as the model's own. Train on more clips.")
    return bench


def bench_of_text(context: EvaluationContext) -> RecordedBench:
    """As `bench_of`, for a model that makes clips from words."""
    if not context.can(Task.TEXT):
        raise SkippedSection("The model was not trained to make clips from words alone.")
    return bench_of(context)


def remarks_of(bench: RecordedBench) -> list[str]:
    """What a reader must know of the clips: how many, and what was held out."""
    data, held = bench.data, len({shown.caption for shown in bench.held_out})
    counted = f"{len(bench.held_out)} held-out clips with {held} captions, {bench.frames} frames of each."
    if data.held_out_by == "nothing":
        return [counted, "Nothing could be held out of so few clips: these were trained on, and every figure flatters."]
    if data.held_out_by == "segment":
        return [counted, "Segments are held out and not whole videos: the training has others of the same videos."]
    return [counted]


def resized(clip: Video, height: int, width: int) -> Video:
    """The middle of a clip uint8 (T, H, W, 3) in another size, cut to its aspect."""
    rows, columns = clip.shape[1:3]
    scale = min(rows / height, columns / width)
    cut = (min(rows, round(height * scale)), min(columns, round(width * scale)))
    top, left = (rows - cut[0]) // 2, (columns - cut[1]) // 2
    frames = torch.from_numpy(np.ascontiguousarray(clip[:, top : top + cut[0], left : left + cut[1]]))
    moved = frames.permute(0, 3, 1, 2).float()
    small = F.interpolate(moved, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return np.asarray(small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy())


def _frames_at(clip: Clip, rate: float) -> int:
    return -(-len(clip.video) // max(1, round(clip.fps / rate)))

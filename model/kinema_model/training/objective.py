"""Which loss a training step computes: samples of a source with a task, a level and noise each.

Nothing depends on the rank, the number of processes or interruptions of the run: random numbers are drawn by
(seed, sample id, step), and `steps` chooses the samples of a step, so a resumed or resized run takes the same steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from kinema_model.codec.codec import Codec, make_codec, to_float
from kinema_model.conditions.conditioning import condition
from kinema_model.conditions.task_inputs import NO_INPUTS, TaskInputs, draw_inputs, training_clip
from kinema_model.conditions.tasks import Task, draw_task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import lowest_level
from kinema_model.diffusion.flow import DrawnLevel, FlowLoss, Velocity, flow_loss
from kinema_model.network.pack import Pack, Sample, pack_samples, patchify
from kinema_model.rng import RngStream, generator, normal, uniform
from kinema_model.source import Captions, Clip, Source
from kinema_model.streaming.chunking import chunked_sample
from kinema_model.text.encoder import TextEncoder

TEXT_DROPOUT: Final = 0.1
STREAMING_SHARE: Final = 0.5
TEXT_ALONE: Final = {Task.TEXT: 1.0}
# Beyond any sample id: the second clip of a blend is a sample of its own.
_PARTNER: Final = 1 << 40


@dataclass(frozen=True)
class _Lesson:
    """A sample of one task: the clip `video` (3, T, H, W) in [-1, 1] that trains it, its inputs, and its captions.

    With `chunking`, which draws the chunk to generate, the sample is the `clip` of the source in streaming mode.
    """

    video: Tensor
    inputs: TaskInputs
    clip: Clip
    captions: Captions
    chunking: np.random.Generator | None = None


class TrainingObjective:
    """The loss of a model on samples of a source, with one task of the mix for each sample.

    `text_dropout` is the share of samples without a caption, for classifier-free guidance (Ho and Salimans 2022),
    `rich_captions` the share with the rich caption (of all samples, or by position), and `streaming_share` the share of
    samples of a streaming model that are in chunks and have no task. All are drawn anew at each step.
    """

    def __init__(
        self,
        config: ModelConfig,
        text_encoder: TextEncoder,
        source: Source,
        seed: int,
        *,
        tasks: Mapping[Task, float] = TEXT_ALONE,
        text_dropout: float = TEXT_DROPOUT,
        rich_captions: float | Callable[[int], float] = 0.0,
        streaming_share: float = STREAMING_SHARE,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.source = source
        self.seed = seed
        self.tasks = tasks
        self.text_dropout = text_dropout
        self.rich_captions = rich_captions
        self.streaming_share = streaming_share
        self.device = torch.device(device)
        self.encoder = text_encoder
        self._codec: Codec = make_codec(config)

    def loss(self, model: Velocity, indices: Sequence[int], step: int) -> FlowLoss:
        """The loss of these samples at this step; noise, level and dropout depend on (seed, sample, step) alone.

        Levels are drawn by `DrawnLevel.draw`. Raises what the source raises.
        """
        clean, noise = self.batch(indices, step)
        return flow_loss(model, clean, noise, lowest_level(self.config))

    def batch(self, indices: Sequence[int], step: int) -> tuple[Pack, Tensor]:
        """Clean latents of the samples as a pack that holds their levels, and noise (N, C pt ph pw).

        `indices` are positions of the source, and N counts the tokens of all samples. Raises what the source raises.
        """
        clips = self.source.clips(indices)
        lessons = [self._lesson(clip, index, step) for clip, index in zip(clips, indices, strict=True)]
        texts = self._texts([lesson.captions for lesson in lessons], indices, step)
        samples = [
            self._sample(lesson, text, index, step) for lesson, index, text in zip(lessons, indices, texts, strict=True)
        ]
        noises = [self._noise(sample, index, step) for sample, index in zip(samples, indices, strict=True)]
        return pack_samples(samples, self.config.patch).to(self.device), torch.cat(noises).to(self.device)

    def _lesson(self, clip: Clip, index: int, step: int) -> _Lesson:
        """The clip, inputs and captions of a sample for the task that is drawn for it."""
        if self.config.streaming is not None:
            chunking = generator(RngStream.STREAMING, self.seed, index, step)
            if chunking.random() < self.streaming_share:
                return _Lesson(clip.video, NO_INPUTS, clip, clip.captions, chunking)
        draw = generator(RngStream.TASK, self.seed, index, step)
        task = draw_task(self.tasks, draw)
        video, captions, other = to_float(clip.video[None])[0], clip.captions, None
        if task is Task.BLEND:
            (further,) = self.source.clips([index + _PARTNER])
            if further.video.shape == clip.video.shape:
                other = to_float(further.video[None])[0]
                captions = captions.then(further.captions)
        if task is Task.LOOP:
            captions = captions.and_back()
        practice = training_clip(task, video, other)
        return _Lesson(practice, draw_inputs(task, practice, draw), clip, captions)

    def _sample(self, lesson: _Lesson, text: Tensor, index: int, step: int) -> Sample:
        """The clip at the level drawn for the sample, with the inputs of its task or, for streaming, in chunks."""
        level = DrawnLevel.draw(generator(RngStream.LEVEL, self.seed, index, step))
        if lesson.chunking is not None and self.config.streaming is not None:
            clip = lesson.clip
            # A sample without text has none for any shot; a single shot keeps the caption that was drawn for it.
            cut = len(clip.starts) > 1 and len(text) > 0
            texts = self.encoder.encode(clip.captions.shots) if cut else [text] * len(clip.starts)
            return chunked_sample(self.config, self.config.streaming, self._codec, clip, texts, level, lesson.chunking)
        latents = self._codec.encode(lesson.video[None])[0]
        whole, *beside = condition(self.config, self._codec, latents, lesson.clip.fps, lesson.inputs)
        shift = self.config.shift_for(whole.levels.numel())
        return Sample((replace(whole, levels=whole.levels * level.shifted(shift)), *beside), text)

    def _noise(self, sample: Sample, index: int, step: int) -> Tensor:
        """(n, C pt ph pw): noise for the clip itself and for its references; inputs are at level 0 and need none."""
        clip, *beside = sample.parts
        rows = [patchify(normal(RngStream.NOISE, self.seed, [index], step, clip.latents.shape)[0], self.config.patch)]
        for part in beside:
            noise = part.latents
            if bool(part.levels.any()):
                noise = normal(RngStream.REFERENCE_NOISE, self.seed, [index], step, part.latents.shape)[0]
            rows.append(patchify(noise, self.config.patch))
        return torch.cat(rows)

    def _texts(self, captions: Sequence[Captions], indices: Sequence[int], step: int) -> list[Tensor]:
        dropped = uniform(RngStream.TEXT_DROPOUT, self.seed, indices, step) < self.text_dropout
        share = self.rich_captions
        shares = [share(index) if callable(share) else share for index in indices]
        rich = uniform(RngStream.CAPTION, self.seed, indices, step) < torch.tensor(shares)
        chosen = [one.rich if long else one.short for one, long in zip(captions, rich.tolist(), strict=True)]
        kept = ["" if gone else caption for caption, gone in zip(chosen, dropped.tolist(), strict=True)]
        return self.encoder.encode(kept)

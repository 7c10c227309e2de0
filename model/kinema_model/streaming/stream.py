"""Clips of open length: one chunk after another from noise, each attending to a window of finished chunks.

The loop is that of CausVid (arXiv:2412.07772) and Self Forcing (arXiv:2506.08009), with full denoising of each chunk.
Finished chunks are attended to slightly noised, as in training: generated chunks differ from those of the data, and
noise hides the difference (Diffusion Forcing, Chen et al. 2024, arXiv:2407.01392, section 3.3).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from kinema_model.codec.codec import Codec, Video, blank_latents, to_uint8
from kinema_model.codec.latents import whole_clip
from kinema_model.config import ModelConfig, StreamingConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.diffusion.sampler import NO_GUIDANCE, Guidance, OnStep, ShouldStop, euler_levels, sample
from kinema_model.errors import PromptError, ShapeError, TaskError
from kinema_model.network.pack import Part, Sample
from kinema_model.rng import RngStream, normal
from kinema_model.streaming.chunking import chunk_rows, reference_of
from kinema_model.streaming.window import Window
from kinema_model.text.encoder import TextEncoder

# Draws of a chunk's noise by what it is for: 0 begins the chunk (`sampler.initial_noise`), 1 stays on it as context, 2
# on the beginning of a shot as its reference.
_AS_CONTEXT: Final = 1
_AS_REFERENCE: Final = 2


@dataclass(frozen=True)
class Shot:
    """A prompt for so many seconds. The reference frames of the shot are the first frames of shot `like`.

    `like` is the number of an earlier shot, whose objects come back, or of the shot itself.
    """

    prompt: str
    seconds: float
    like: int = 0


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is generated: size in pixels, frames per second, Euler steps of each chunk, and guidance."""

    height: int
    width: int
    fps: int
    steps: int
    guidance_scale: float
    negative_prompt: str = ""
    on_step: OnStep | None = None
    should_stop: ShouldStop | None = None
    guidance_rescale: float = 0.0


@dataclass(frozen=True)
class _Chunk:
    """A chunk of the plan: its number in the stream, its token rows, its shot, and whether it is the first of that."""

    number: int
    rows: int
    shot: int
    begins: bool


def stream(
    model: VideoDenoiser,
    codec: Codec,
    encoder: TextEncoder,
    shots: Sequence[Shot],
    seed: int,
    options: StreamOptions,
    device: torch.device | str = "cpu",
) -> Iterator[Video]:
    """The chunks of a clip, uint8 (t, H, W, 3) each, one after another; chunks that left the window are not kept.

    Raises `TaskError` for a model that was not trained for streaming, `PromptError` and `ShapeError` for shots that
    cannot be generated, all before the first chunk. While chunks are generated it raises `SamplingStopped` when
    `should_stop` returns True, and `NotFinite`.
    """
    streaming = trained_streaming(model.config)
    _check(shots, seed)
    return Streamer(model, streaming, codec, encoder, shots, seed, options, device).run()


def trained_streaming(config: ModelConfig) -> StreamingConfig:
    """The streaming config of a model. Raises `TaskError` for a model that was not trained for streaming."""
    if config.streaming is None:
        raise TaskError(
            "This model was not trained for streaming. Request one clip of at most "
            f"{config.max_frames} frames, or use a model trained with streaming."
        )
    return config.streaming


def _check(shots: Sequence[Shot], seed: int) -> None:
    if not shots:
        raise PromptError("There are no shots. Give at least one prompt with its seconds.")
    if seed < 0:
        raise ShapeError("The seed is negative. Use 0 or a positive number.")
    for number, shot in enumerate(shots):
        if not shot.prompt.strip():
            raise PromptError(f"The prompt of shot {number} is empty. Describe the shot.")
        if not 0 < shot.seconds < float("inf"):
            raise ShapeError(f"Shot {number} cannot last {shot.seconds:g} s. Give more than 0.")
        if not 0 <= shot.like <= number:
            raise ShapeError(
                f"Shot {number} cannot be like shot {shot.like}. Name itself, {number}, or an earlier one."
            )


class Streamer:
    """The state of one stream: its plan, its texts, and the window that the next chunk attends to."""

    def __init__(
        self,
        model: VideoDenoiser,
        streaming: StreamingConfig,
        codec: Codec,
        encoder: TextEncoder,
        shots: Sequence[Shot],
        seed: int,
        options: StreamOptions,
        device: torch.device | str,
    ) -> None:
        self.config = model.config
        self.window = Window(model, streaming, device, options.fps)
        self._streaming, self._codec = streaming, codec
        self._shots, self._seed, self._options = tuple(shots), seed, options
        self._device = torch.device(device)
        self._texts = encoder.encode([shot.prompt for shot in shots])
        self._against = encoder.encode([options.negative_prompt])[0]
        # Reference parts of shots that another shot names, and the shot whose references are in use.
        self._beginnings: dict[int, tuple[Part, ...]] = {}
        self._referred: int | None = None

    def run(self) -> Iterator[Video]:
        """Chunks uint8 (t, H, W, 3). Raises `SamplingStopped` and `NotFinite`."""
        plan = _planned(self.config, self._streaming, self._shots, self._options.fps)
        for chunk in plan:
            self._look_at(self._shots[chunk.shot].like)
            latents = self._made(chunk, len(plan))
            pixels = to_uint8(self._codec.decode(latents[None]))[0].cpu()
            self._kept(chunk, latents)
            if chunk.begins and any(shot.like == chunk.shot for shot in self._shots):
                found = reference_of(self.config, self._streaming, self._codec, pixels, self._options.fps)
                self._beginnings[chunk.shot] = tuple(self._noised(part, chunk, _AS_REFERENCE) for part in found)
            yield np.asarray(pixels.numpy())

    def _look_at(self, shot: int) -> None:
        """Use the reference frames of a shot, once that shot has begun."""
        if self._referred == shot or (shot not in self._beginnings and self._referred is None):
            return
        self.window.refer(self._beginnings.get(shot, ()), self._all_texts(shot))
        self._referred = shot if shot in self._beginnings else None

    def _made(self, chunk: _Chunk, chunks: int) -> Tensor:
        """Latents (C, t, H, W) of a chunk, generated from noise."""
        options, steps = self._options, self._options.steps
        part = self._part(chunk)
        text, *against = self._all_texts(chunk.shot)
        on_step = options.on_step
        (latents,) = sample(
            self.window.view(),
            [Sample((part,), text)],
            [self._seed],
            self.config.patch,
            euler_levels(steps, self._shift(part)),
            guidance=Guidance(options.guidance_scale, against, options.guidance_rescale) if against else None,
            chunk=chunk.number,
            device=self._device,
            on_step=None if on_step is None else lambda done, _: on_step(chunk.number * steps + done, chunks * steps),
            should_stop=options.should_stop,
        )
        return latents

    def _shift(self, part: Part) -> float:
        """The shift of a full chunk, as in training, also for a shorter chunk at the end of a shot."""
        full = self.config.grid.rows_in(self._streaming.chunk_frames)
        return self.config.shift_for(full * part.levels[0].numel())

    def _kept(self, chunk: _Chunk, latents: Tensor) -> None:
        context = self._noised(replace(self._part(chunk), latents=latents), chunk, _AS_CONTEXT)
        self.window.keep(context, self._all_texts(chunk.shot))

    def _noised(self, part: Part, chunk: _Chunk, purpose: int) -> Part:
        """A finished part at `context_level`, as later chunks attend to it in sampling and in training."""
        level = self._streaming.context_level
        noise = normal(RngStream.INITIAL_NOISE, self._seed, [chunk.number], purpose, part.latents.shape)[0]
        noisy = (1 - level) * part.latents + level * noise.to(part.latents.device)
        return replace(part, latents=noisy, levels=torch.full_like(part.levels, level))

    def _part(self, chunk: _Chunk) -> Part:
        frames = self.config.grid.frames_of(chunk.rows)
        blank = blank_latents(self.config, frames, self._options.height, self._options.width)
        return whole_clip(self.config, blank, self._options.fps)

    def _all_texts(self, shot: int) -> list[Tensor]:
        """The states (L, text_dim) of the prompt and, with guidance, of the negative prompt."""
        guided = self._options.guidance_scale != NO_GUIDANCE
        return [self._texts[shot], self._against] if guided else [self._texts[shot]]


def _planned(config: ModelConfig, streaming: StreamingConfig, shots: Sequence[Shot], fps: int) -> list[_Chunk]:
    plan: list[_Chunk] = []
    for shot, asked in enumerate(shots):
        for place, length in enumerate(chunk_rows(config, streaming, config.rows_for(asked.seconds, fps))):
            plan.append(_Chunk(len(plan), length, shot, begins=place == 0))
    return plan

"""What the utilisation benchmark trains: the published network, its batches, and one whole step.

A clip of the world is drawn on the device and turned into latents of 16 channels by a fixed projection of 4 x 4 pixels,
in place of a codec: 8 x 8 pixels of a frame make a token, as in our own presets. Its caption is encoded by the text
encoder that Kinema trains with and widened to the network's text width by another fixed projection. Projections, like
all weights, are random: zeros would let a device run cooler and faster than it does in earnest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.device import DEVICE
from bench.shapes import WORLD_GRID
from kinema_model.codec.codec import to_float
from kinema_model.codec.latents import whole_clip
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.network.config import NetworkConfig
from kinema_model.network.flops import training_flops
from kinema_model.network.pack import Box, Pack, Sample, pack_samples
from kinema_model.packing.planning import StepPlanner, StreamState, tokens_of
from kinema_model.text.encoder import TEXT_DIM, TextEncoder
from kinema_model.training.learner import DenoiserLearner
from kinema_model.training.optimizer import make_optimizer
from kinema_model.training.options import LearnerOptions
from kinema_world import World

# Pixels of a side that make one latent.
_CELL: Final = 4
_FPS: Final = 8
_RATE: Final = 1e-5
_HORIZON: Final = 10_000
_STD: Final = 0.02


@dataclass(frozen=True)
class Batch:
    """Clean latents with their levels, noise of the same shape, and what a training step on them takes."""

    clean: Pack
    noise: Tensor
    flops: int

    @property
    def tokens(self) -> int:
        """Tokens of clips, none of which is padding."""
        return sum(self.clean.clips.lengths)


class Feed:
    """Makes batches for a network: of the world's clips, or of random latents in boxes of one's choice."""

    def __init__(self, config: ModelConfig, world: World, tokens: int) -> None:
        self.config = config
        self._world = world
        self._planner = StepPlanner(lambda index: tokens_of(WORLD_GRID, world.shape(index)), tokens)
        self._state = StreamState()
        self._encoder = TextEncoder(device=DEVICE)
        draw = torch.Generator().manual_seed(0)
        channels = config.channels
        kernel = torch.randn(channels, 3, _CELL, _CELL, generator=draw) / (3 * _CELL**2) ** 0.5
        widen = torch.randn(config.network.text_dim, TEXT_DIM, generator=draw) / TEXT_DIM**0.5
        self._kernel, self._widen = kernel.to(DEVICE), widen.to(DEVICE)

    def mixed(self) -> Batch:
        """The next step of the planner."""
        indices, self._state = self._planner.plan(self._state)
        clips = self._world.clips(indices, DEVICE)
        latents = [self._encoded(video) for video, _ in clips]
        return self._batch(latents, [scene.captions.rich for _, scene in clips], [s.shape.fps for _, s in clips])

    def boxes(self, boxes: Sequence[Box]) -> Batch:
        """Random latents in boxes of tokens, with captions of the world."""
        sides = self.config.patch
        sizes = [[cells * side for cells, side in zip(box, sides, strict=True)] for box in boxes]
        latents = [torch.randn(self.config.channels, *size, device=DEVICE) for size in sizes]
        captions = [self._world.scene(number).captions.rich for number in range(len(boxes))]
        return self._batch(latents, captions, [_FPS] * len(boxes))

    def _encoded(self, video: Tensor) -> Tensor:
        """uint8 (T, H, W, 3) -> (16, T, H / 4, W / 4)."""
        frames = to_float(video[None])[0].transpose(0, 1)
        return F.conv2d(frames, self._kernel, stride=_CELL).transpose(0, 1)

    def _batch(self, latents: Sequence[Tensor], captions: Sequence[str], rates: Sequence[int]) -> Batch:
        levels = torch.sigmoid(torch.randn(len(latents)))
        texts = [F.linear(states, self._widen) for states in self._encoder.encode(captions)]
        samples = []
        for each, level, text, rate in zip(latents, levels, texts, rates, strict=True):
            part = whole_clip(self.config, each, rate)
            samples.append(Sample((type(part)(part.latents, part.levels * level, part.times),), text))
        clean = pack_samples(samples, self.config.patch).to(DEVICE)
        flops = training_flops(self.config.network, clean.clips.lengths, clean.texts.lengths, len(clean.levels))
        return Batch(clean, torch.randn_like(clean.tokens), flops)


def model_config(network: NetworkConfig) -> ModelConfig:
    """A model around a published network; the default clip is of no account here."""
    return ModelConfig(preset="published", network=network, frames=16, height=64, width_px=64, fps=_FPS)


class Training:
    """Weights, AdamW and average, all in float32, and one whole step with its products in `dtype`."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype, *, compiled: bool = False) -> None:
        torch.manual_seed(0)
        with torch.device(DEVICE):
            self.model = VideoDenoiser(config)
        for parameter in self.model.parameters():
            if not bool(parameter.any()):
                nn.init.normal_(parameter, std=_STD)
        self.recomputed = 0
        optimizer = make_optimizer(self.model, _RATE, _HORIZON)
        self.learner = DenoiserLearner(self.model, *optimizer, LearnerOptions(dtype, compiled))
        self.compiled = self.learner.compiled

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def recompute(self, count: int) -> None:
        """Have the first `count` blocks keep only their inputs."""
        self.recomputed = min(count, len(self.model.network.blocks))
        self.learner.recompute("full", self.recomputed)

    def step(self, batch: Batch) -> float | Tensor:
        """Forward, backward, clipping, AdamW and average; the loss, still on the device."""
        loss = self.learner.learn([(batch.clean, batch.noise)])
        self.learner.schedule.step()
        return loss


def fitted(training: Training, try_out: Callable[[], object]) -> None:
    """Have as few blocks recomputed as let `try_out` end within the device's memory, a sixth of all at a time.

    Raises `torch.OutOfMemoryError` where even all of them do not.
    """
    depth = len(training.model.network.blocks)
    while True:
        try:
            try_out()
        except torch.OutOfMemoryError:
            if training.recomputed == depth:
                raise
        else:
            return
        training.model.zero_grad(set_to_none=True)
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
        training.recompute(training.recomputed + max(1, depth // 6))

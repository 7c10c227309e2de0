"""Kinema's side of the learning benchmark: data, prompts and their marking, model and objective.

Only this module uses the interfaces of the model packages. The world's
split keeps one in eight combinations of colour, shape and direction from training: they are the unseen prompts of a
reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kinema_model.codec.codec import make_codec, to_uint8
from kinema_model.codec.latents import whole_clip
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.diffusion.flow import Velocity
from kinema_model.diffusion.sampler import Guidance, euler_levels, sample
from kinema_model.network.pack import Sample
from kinema_model.rng import RngStream, generator
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.objective import TrainingObjective
from kinema_world import (
    Attributes,
    Motion,
    SceneKind,
    ShapeMix,
    Video,
    World,
    WorldConfig,
    caption_of,
    combinations,
)
from kinema_world.reader import parse
from kinema_world.source import WorldSource
from kinema_world.splits import combination_held_out

GUIDANCE = 2.0
_FIRST_SEED = 2_000_000_000
"""Noise seeds of readings start here, far from those of `evaluate_attributes`."""
_CAPTIONS_SEEN = 10_000
"""So many samples contain nearly every wording of the world."""


@dataclass(frozen=True)
class Question:
    """One prompt of a reading, what it asks for, and the seed of its noise."""

    prompt: str
    asked: Attributes
    seed: int


def held_out(attributes: Attributes) -> bool:
    """Whether the world keeps a combination from training."""
    colour, shape = str(attributes.colour), str(attributes.shape)
    return combination_held_out(colour, shape, Motion.STRAIGHT, attributes.direction)


def questions(count: int, seed: int) -> list[Question]:
    """Unseen prompts, each held-out combination equally often, in an order set by seed."""
    unseen = [attributes for attributes in combinations() if held_out(attributes)]
    order = generator(RngStream.PROMPTS, seed)
    asked = [unseen[int(i)] for _ in range(-(-count // len(unseen))) for i in order.permutation(len(unseen))]
    return [Question(caption_of(a), a, _FIRST_SEED + seed * count + i) for i, a in enumerate(asked[:count])]


def mark(clip: Video, asked: Attributes) -> tuple[bool, bool]:
    """Whether a clip uint8 (T, H, W, 3) shows the colour, and the direction, that was asked for."""
    read = parse(clip)
    return (False, False) if read is None else (read.colour == asked.colour, read.direction == asked.direction)


def simple_world(config: ModelConfig, seed: int) -> World:
    """Simple scenes in the shape that a model draws, without what is held out."""
    shapes = ShapeMix.fixed(config.frames, config.height, config.width_px, config.fps)
    return World(WorldConfig(seed=seed, split="train", kinds={SceneKind.SIMPLE: 1.0}, shapes=shapes))


class Task:
    """The samples of one run, the same for every contender of a seed."""

    def __init__(self, config: ModelConfig, batch_tokens: int, seed: int, encoder: TextEncoder) -> None:
        self.config = config
        self.seed = seed
        self.batch = max(1, batch_tokens // config.tokens_per_clip)
        self.encoder = encoder
        self.world = simple_world(config, seed)
        self.objective = TrainingObjective(config, encoder, WorldSource(self.world), seed)
        self._codec = make_codec(config)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of a clip's latents."""
        config = self.config
        return (config.channels, *config.grid.latent_box(config.frames, config.height, config.width_px))

    def indices(self, step: int) -> list[int]:
        """Ids of the samples of a step."""
        return list(range(step * self.batch, (step + 1) * self.batch))

    def video(self, latents: Tensor) -> Video:
        """uint8 (B, T, H, W, 3) of latents (B, C, T, H, W)."""
        return np.asarray(to_uint8(self._codec.decode(latents)).numpy())

    def remember_texts(self) -> None:
        """Encode every caption once, so that the text encoder takes no time while the clock runs."""
        captions = {self.world.scene(index).captions.short for index in range(_CAPTIONS_SEEN)}
        self.encoder.encode(sorted(captions | {caption_of(attributes) for attributes in combinations()}))


class FlowObjective:
    """Kinema's own loss and sampler, for its network or for any that `velocity` makes into one like it."""

    def __init__(self, task: Task, steps: int, velocity: Callable[[nn.Module], Velocity]) -> None:
        self.task = task
        self.steps = steps
        self._velocity = velocity

    def loss(self, model: nn.Module, step: int) -> Tensor:
        """Scalar loss of the samples of a step."""
        return self.task.objective.loss(self._velocity(model), self.task.indices(step), step).mean

    def sample(self, model: nn.Module, prompts: Sequence[str], seeds: Sequence[int]) -> Video:
        """Clips uint8 (B, T, H, W, 3), one per prompt and seed."""
        config = self.task.config
        clip = whole_clip(config, torch.zeros(self.task.shape), config.fps)
        texts = self.task.encoder.encode(prompts)
        latents = sample(
            self._velocity(model),
            [Sample((clip,), text) for text in texts],
            seeds,
            config.patch,
            euler_levels(self.steps, config.shift_for(config.tokens_per_clip)),
            guidance=Guidance(GUIDANCE, [text[:0] for text in texts]),
        )
        return self.task.video(torch.stack(latents))


def our_model(config: ModelConfig, seed: int) -> VideoDenoiser:
    """A fresh network, its first weights set by the seed."""
    torch.manual_seed(seed)
    return VideoDenoiser(config)

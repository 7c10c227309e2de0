"""What the learning benchmark needs of Kinema itself: its data, its prompts and their marks, its model and objective.

Everything that touches the model's own interfaces stands here, so that the harness and the baseline know only
this. Combinations of colour, shape and direction that fall to `held_out` are never trained on: they are the unseen
prompts of a reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kinema_model.codec import make_codec, to_uint8
from kinema_model.config import ModelConfig
from kinema_model.dit import LOWEST_DIVISOR, VideoDiT
from kinema_model.draws import Stream, generator, uniform
from kinema_model.flow import Velocity
from kinema_model.parser import parse
from kinema_model.sampler import sample
from kinema_model.text import TextEncoder
from kinema_model.training import TEXT_DROPOUT, TrainingObjective, global_batch_of
from kinema_model.world import COLOURS, DIRECTIONS, SHAPES, Attributes, Video, World, caption_of, combinations

GUIDANCE = 2.0
_HELD_OUT_EVERY = 8
_FIRST_SEED = 2_000_000_000
"""Noise seeds of readings start here, far from those of `evaluate_attributes`."""
_CAPTIONS_SEEN = 20_000
"""Of so many samples' captions, none of the world's wordings is missing."""


@dataclass(frozen=True)
class Question:
    """One prompt of a reading, what it asks for, and the seed of its noise."""

    prompt: str
    asked: Attributes
    seed: int


def held_out(attributes: Attributes) -> bool:
    """Whether a combination is kept from training: one in eight, every colour, shape and direction among them."""
    colour = list(COLOURS).index(str(attributes.colour))
    shape = SHAPES.index(str(attributes.shape))
    direction = list(DIRECTIONS).index(str(attributes.direction))
    return (colour + 2 * shape + 3 * direction) % _HELD_OUT_EVERY == 0


def questions(count: int, seed: int) -> list[Question]:
    """Unseen prompts, each held-out combination equally often, in an order set by seed."""
    unseen = [attributes for attributes in combinations() if held_out(attributes)]
    order = generator(Stream.PROMPTS, seed)
    asked = [unseen[int(i)] for _ in range(-(-count // len(unseen))) for i in order.permutation(len(unseen))]
    return [Question(caption_of(a), a, _FIRST_SEED + seed * count + i) for i, a in enumerate(asked[:count])]


def mark(clip: Video, asked: Attributes) -> tuple[bool, bool]:
    """Whether a clip uint8 (T, H, W, 3) shows the colour, and the direction, that was asked for."""
    read = parse(clip)
    return (False, False) if read is None else (read.colour == asked.colour, read.direction == asked.direction)


class Task:
    """The samples of one run, the same for every contender of a seed."""

    def __init__(self, config: ModelConfig, batch_tokens: int, seed: int, encoder: TextEncoder) -> None:
        self.config = config
        self.seed = seed
        self.batch = global_batch_of(config, batch_tokens)
        self.encoder = encoder
        self.world = World(seed, config.frames, config.height, config.width_px, config.fps)
        self.codec = make_codec(config)
        self._seen: list[int] = []
        self._next = 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of a clip's latents."""
        return self.codec.latent_shape(self.config.frames, self.config.height, self.config.width_px)

    def indices(self, step: int) -> list[int]:
        """Ids of the samples of a step: those that hold nothing held out, in order."""
        while len(self._seen) < (step + 1) * self.batch:
            if not held_out(self.world.state(self._next)[0].attributes):
                self._seen.append(self._next)
            self._next += 1
        return self._seen[step * self.batch : (step + 1) * self.batch]

    def clips(self, indices: Sequence[int], step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (B, C, T, H, W), text states (B, L, D) and their mask (B, L), prompts left out at the usual rate."""
        videos, captions = self.world.batch(indices)
        gone = uniform(Stream.TEXT_DROPOUT, self.seed, indices, step) < TEXT_DROPOUT
        kept = ["" if absent else caption for caption, absent in zip(captions, gone.tolist(), strict=True)]
        return self.codec.encode(videos), *self.encoder.encode(kept)

    def video(self, latents: Tensor) -> Video:
        """uint8 (B, T, H, W, 3) of latents."""
        return np.asarray(to_uint8(self.codec.decode(latents)).numpy())

    def remember_texts(self) -> None:
        """Encode every caption once, so that no contender pays for the text encoder while the clock runs."""
        captions = {self.world.state(index)[1] for index in range(_CAPTIONS_SEEN)}
        self.encoder.encode(sorted(captions | {caption_of(attributes) for attributes in combinations()}))


class FlowObjective:
    """Kinema's own loss and sampler, for its network or for any that `velocity` makes into one like it."""

    def __init__(self, task: Task, steps: int, velocity: Callable[[nn.Module], Velocity]) -> None:
        self.task = task
        self.steps = steps
        self._velocity = velocity
        self._objective = TrainingObjective(task.config, task.encoder, task.world, task.seed)

    def loss(self, model: nn.Module, step: int) -> Tensor:
        return self._objective.loss(self._velocity(model), self.task.indices(step), step)["loss"]

    def sample(self, model: nn.Module, prompts: Sequence[str], seeds: Sequence[int]) -> Video:
        """Clips uint8 (B, T, H, W, 3)."""
        text, mask = self.task.encoder.encode(prompts)
        velocity, shift = self._velocity(model), self.task.config.level_shift
        latents = sample(velocity, text, mask, self.task.shape, self.steps, GUIDANCE, seeds, shift=shift)
        return self.task.video(latents)


def our_model(config: ModelConfig, seed: int) -> VideoDiT:
    """A fresh network, its first weights set by the seed."""
    torch.manual_seed(seed)
    return VideoDiT(config)


def velocity_of_clean(clean: Tensor, latents: Tensor, levels: Tensor) -> Tensor:
    """The velocity that a clean estimate implies, as our network forms it: latents (B, C, T, H, W), levels (B, T)."""
    return (latents - clean) / levels.clamp(min=LOWEST_DIVISOR)[:, None, :, None, None]

"""Latte as a contender of the learning benchmark, with any of our parts in place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from bench.latte.diffusion import STEPS, Ddpm, ddim, guided
from bench.latte.network import PUBLISHED_RATIO, Latte, LatteConfig, Part, fitted
from bench.learning_contender import Objective, Trained
from bench.learning_ours import GUIDANCE, FlowObjective, Task, velocity_of_clean
from kinema_model.config import ModelConfig
from kinema_model.draws import Stream, normal, uniform
from kinema_model.flow import Velocity
from kinema_model.sampler import initial_noise
from kinema_model.world import Video


class DdpmObjective:
    """Noise prediction with a learned variance, and DDIM with guidance, on the samples of a task."""

    def __init__(self, task: Task, steps: int) -> None:
        self.task = task
        self.steps = steps
        self._ddpm = Ddpm()

    def loss(self, model: nn.Module, step: int) -> Tensor:
        indices = self.task.indices(step)
        latents, text, mask = self.task.clips(indices, step)
        noise = normal(Stream.NOISE, self.task.seed, indices, step, latents.shape[1:])
        times = (uniform(Stream.LEVEL, self.task.seed, indices, step) * STEPS).long()
        emitted = model(self._ddpm.noised(latents, noise, times), times, text, mask)
        return self._ddpm.loss(emitted, latents, noise, times).mean

    def sample(self, model: nn.Module, prompts: Sequence[str], seeds: Sequence[int]) -> Video:
        """Clips uint8 (B, T, H, W, 3)."""
        text, mask = self.task.encoder.encode(prompts)
        noise_of = guided(model, text, mask, GUIDANCE)
        return self.task.video(ddim(self._ddpm, noise_of, initial_noise(seeds, self.task.shape), self.steps))


def latte_config(config: ModelConfig, parameters: int, parts: Iterable[Part] = ()) -> LatteConfig:
    """Latte for the clips, patches, heads and depth of a model of ours, with nearly as many parameters."""
    sides = (config.frames, config.height, config.width_px)
    rows = tuple(size // side for size, side in zip(sides, config.patch, strict=True))
    base = LatteConfig(
        channels=config.channels,
        patch=config.patch,
        grid=(rows[0], rows[1], rows[2]),
        text_dim=config.text_dim,
        time_dim=config.time_dim,
        width=config.width,
        heads=config.heads,
        pairs=max(1, config.depth // 2),
        hidden=PUBLISHED_RATIO * config.width,
        rope_theta=config.rope_theta,
        coordinates=config.coordinates,
        parts=frozenset(parts),
    )
    return fitted(base, parameters)


def as_velocity(model: nn.Module, clean: bool) -> Velocity:
    """What a flow asks of a network, told by a `Latte` that says a velocity, or with `clean` the clip."""

    def velocity(latents: Tensor, levels: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        emitted: Tensor = model(latents, levels[:, 0] * STEPS, text, mask)
        return velocity_of_clean(emitted, latents, levels) if clean else emitted

    return velocity


def latte(task: Task, parameters: int, lr: float, steps: int, parts: Sequence[Part] = ()) -> Trained:
    """A fresh contender; its first weights are set by the task's seed, `steps` are those of its sampler."""
    torch.manual_seed(task.seed)
    network = Latte(latte_config(task.config, parameters, parts))
    objective: Objective = DdpmObjective(task, steps)
    if Part.FLOW in parts:
        objective = FlowObjective(task, steps, lambda model: as_velocity(model, Part.CLEAN in parts))
    return Trained("+".join(("latte", *parts)), network, objective, lr)

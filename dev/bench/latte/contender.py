"""Latte as a contender of the learning benchmark, with any of our parts in place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from bench.latte.diffusion import STEPS, Ddpm, ddim, guided
from bench.latte.network import PUBLISHED_RATIO, Latte, LatteConfig, Part, fitted
from bench.latte.patches import padded, patchify, unpatchify
from bench.learning_contender import Objective, Trained
from bench.learning_ours import GUIDANCE, FlowObjective, Task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import velocity_to
from kinema_model.diffusion.flow import Velocity
from kinema_model.diffusion.sampler import initial_noise
from kinema_model.network.pack import Pack
from kinema_model.rng import RngStream, uniform
from kinema_world import Video


class DdpmObjective:
    """Noise prediction with a learned variance, and DDIM with guidance, on the samples of a task."""

    def __init__(self, task: Task, steps: int) -> None:
        self.task = task
        self.steps = steps
        self._ddpm = Ddpm()

    def loss(self, model: nn.Module, step: int) -> Tensor:
        """Scalar loss of the samples of a step."""
        indices = self.task.indices(step)
        pack, noises = self.task.objective.batch(indices, step)
        clean, noise = (latents_of(rows, pack, self.task.config) for rows in (pack.tokens, noises))
        times = (uniform(RngStream.LEVEL, self.task.seed, indices, step) * STEPS).long()
        emitted = model(self._ddpm.noised(clean, noise, times), times, *texts_of(pack))
        return self._ddpm.loss(emitted, clean, noise, times).mean

    def sample(self, model: nn.Module, prompts: Sequence[str], seeds: Sequence[int]) -> Video:
        """Clips uint8 (B, T, H, W, 3), one per prompt and seed."""
        text, mask = padded(self.task.encoder.encode(prompts))
        noise = torch.stack([initial_noise(seed, self.task.shape) for seed in seeds])
        return self.task.video(ddim(self._ddpm, guided(model, text, mask, GUIDANCE), noise, self.steps))


def latte_config(config: ModelConfig, parameters: int, parts: Iterable[Part] = ()) -> LatteConfig:
    """Latte for the clips, patches, heads and depth of a model of ours, with nearly as many parameters."""
    network, (pt, ph, pw) = config.network, config.patch
    base = LatteConfig(
        channels=config.channels,
        patch=config.patch,
        grid=(config.frames // pt, config.height // ph, config.width_px // pw),
        text_dim=network.text_dim,
        time_dim=network.freq_dim,
        width=network.width,
        heads=network.num_attention_heads,
        pairs=max(1, network.num_layers // 2),
        hidden=PUBLISHED_RATIO * network.width,
        parts=frozenset(parts),
    )
    return fitted(base, parameters)


def latents_of(rows: Tensor, pack: Pack, config: ModelConfig) -> Tensor:
    """Rows (N, C pt ph pw) in the order of a pack of equal clips -> (B, C, T, H, W)."""
    return unpatchify(rows.view(len(pack.boxes), -1, rows.shape[1]), pack.boxes[0][0], config.patch)


def texts_of(pack: Pack) -> tuple[Tensor, Tensor]:
    """The pack's text as states (B, L, D) and their mask (B, L)."""
    pieces = zip(*(torch.split(rows, list(pack.texts.lengths)) for rows in (pack.text, pack.textless)), strict=True)
    return padded([states[~textless] for states, textless in pieces])


def as_velocity(model: nn.Module, config: ModelConfig, clean: bool) -> Velocity:
    """What a flow asks of a network, told by a `Latte` that says a velocity, or with `clean` the clip."""

    def velocity(pack: Pack) -> Tensor:
        latents = latents_of(pack.tokens, pack, config)
        levels = pack.token_levels.view(len(latents), -1)[:, 0]
        rows = patchify(model(latents, levels * STEPS, *texts_of(pack)), config.patch).flatten(0, 2)
        return velocity_to(rows, pack) if clean else rows

    return velocity


def latte(task: Task, parameters: int, lr: float, steps: int, parts: Sequence[Part] = ()) -> Trained:
    """A fresh contender; its first weights are set by the task's seed, `steps` are those of its sampler."""
    torch.manual_seed(task.seed)
    network = Latte(latte_config(task.config, parameters, parts))
    objective: Objective = DdpmObjective(task, steps)
    if Part.FLOW in parts:
        objective = FlowObjective(task, steps, lambda model: as_velocity(model, task.config, Part.CLEAN in parts))
    return Trained("+".join(("latte", *parts)), network, objective, lr)

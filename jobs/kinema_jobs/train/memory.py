"""Refuses a model that cannot fit into memory, before its weights are made, and sizes the micro-batches.

The estimate of `kinema_api.training_memory` is a lower bound, so that no model is refused that could have run. Measured
against peak resident memory over three steps on a CPU, the bound was 59 % (width 128, 8640 tokens), 69 % (256, 4320),
70 % (512, 7200) and 90 % (1024, 576): closest where the state dominates. The rest is gradients in transit, the clips,
and the allocator.
"""

from __future__ import annotations

from typing import Final

import torch

from kinema_api.finetune import Lora
from kinema_api.training_memory import Means, TrainingMemory, sparing, training_memory
from kinema_jobs.memory import free_memory, in_gib
from kinema_jobs.train.failures import BadConfiguration
from kinema_jobs.train.group import Group
from kinema_jobs.train.pieces import PieceLimit
from kinema_model.config import ModelConfig
from kinema_model.training.options import LearnerOptions

BOUND_SHARE: Final = 0.5
"""The bound's smallest share of the memory that activations really take, as measured above; pieces are sized by it."""


def means_of(options: LearnerOptions, lora: Lora | None = None) -> Means:
    """What decides how much memory these options take."""
    return Means(lora, options.recompute != "none", options.precision.itemsize < torch.float32.itemsize)


def memory_of(model: ModelConfig, options: LearnerOptions | None = None, lora: Lora | None = None) -> TrainingMemory:
    """What a model takes in training; `options` default to float32 without recomputing."""
    return training_memory(model.network.to_diffusers(), means_of(options or LearnerOptions(), lora))


def require_memory(
    model: ModelConfig,
    batch_tokens: int,
    group: Group,
    largest: int | None = None,
    *,
    options: LearnerOptions | None = None,
    lora: Lora | None = None,
    fine_tuning: bool = False,
    most: int | None = None,
) -> PieceLimit:
    """The limit of a micro-batch, for clips of at most `largest` tokens (default: the model's own clip).

    `most` are the most tokens that the run wants computed at once.

    Raises:
        BadConfiguration: the model with a single clip does not fit.
    """
    clip = largest or model.tokens_per_clip
    # Steps are divided by work, so a share may have somewhat more tokens than the mean.
    share = min(batch_tokens // group.world_size + clip, max(clip, most or batch_tokens + clip))
    free = free_memory(group.device)
    if free is None:
        return PieceLimit(share, clip)
    need = memory_of(model, options, lora)
    if need.step(clip) > free:
        means = means_of(options or LearnerOptions(), lora)
        remedy = sparing(model.network.to_diffusers(), means, clip, free, fine_tuning=fine_tuning)
        raise BadConfiguration(
            f"this model of {need.trained + need.frozen:,} parameters needs at least {in_gib(need.step(clip))} of "
            f"memory to train on a single clip and {in_gib(free)} are free: {remedy}, make the model smaller in "
            "spec.model.overrides, or raise spec.worker.resources memory"
        )
    room = int((free - need.state) * BOUND_SHARE / need.token)
    return PieceLimit(max(clip, min(share, room)), clip)

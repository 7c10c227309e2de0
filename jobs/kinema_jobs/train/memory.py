"""Refuses a model that cannot fit into memory, before its weights are made, and sizes the micro-batches.

The estimate is a lower bound, so that no model is refused that could have run:

    state         24 bytes a trained parameter: weights, gradients, DDP's buckets of them, AdamW's two moments, their
                  average; 4 bytes a frozen one
    activations   4 n L (22 D + 2 F) bytes for n tokens in L blocks of width D and feed-forward F: what one forward pass
                  keeps for the backward pass, without text, levels and the ends of the network; half of it with
                  products in bfloat16; 4 n (L D + 22 D + 2 F) with recomputation, which keeps inputs, and
                  one block at a time

Both are held at once: gradients of one step live until the forward pass of the next is done. Measured against peak
resident memory over three steps on a CPU, the bound was 59 % (width 128, 8640 tokens), 69 % (256, 4320), 70 % (512,
7200) and 90 % (1024, 576): closest where the state dominates. The rest is gradients in transit, the clips, and the
allocator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from kinema_jobs.memory import free_memory, in_gib
from kinema_jobs.train.failures import BadConfiguration
from kinema_jobs.train.group import Group
from kinema_jobs.train.pieces import PieceLimit
from kinema_model.adapters.lora import LoraConfig, add_lora
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.ema import trained_parameters
from kinema_model.training.options import LearnerOptions

STATE_BYTES: Final = 24
"""Bytes a parameter while it is trained in float32."""
FROZEN_BYTES: Final = 4
"""Bytes a parameter that stays as it is."""
_KEPT_OF_WIDTH: Final = 22
"""Rows of D numbers per token and block kept for the backward pass: inputs of norms, products, gates and attention."""
_KEPT_OF_HIDDEN: Final = 2
"""Rows of F numbers per token and block: before and after the activation of the feed-forward."""
BOUND_SHARE: Final = 0.5
"""The bound's smallest share of the memory that activations really take, as measured above; pieces are sized by it."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a model in training needs at least: of its parameters, and of every token in a step."""

    parameters: int
    token: int
    frozen: int = 0
    """Parameters of the base below adapters."""

    @classmethod
    def of(
        cls, model: ModelConfig, options: LearnerOptions | None = None, lora: LoraConfig | None = None
    ) -> MemoryEstimate:
        """Counts parameters on torch's meta device; `options` default to float32 without recomputing.

        Raises `ConfigError` where the adapters do not fit the model.
        """
        options = options or LearnerOptions()
        with torch.device("meta"):
            denoiser = VideoDenoiser(model)
            if lora is not None:
                add_lora(denoiser.network, lora)
        parameters = sum(p.numel() for p in trained_parameters(denoiser).values())
        frozen = sum(p.numel() for p in denoiser.parameters()) - parameters
        network = model.network
        block = _KEPT_OF_WIDTH * network.width + _KEPT_OF_HIDDEN * network.ffn_dim
        recomputed = options.recompute != "none"
        numbers = network.num_layers * network.width + block if recomputed else network.num_layers * block
        return cls(parameters, options.precision.itemsize * numbers, frozen)

    @property
    def state(self) -> int:
        """Bytes that are there whatever a step holds."""
        return STATE_BYTES * self.parameters + FROZEN_BYTES * self.frozen

    def step(self, tokens: int) -> int:
        """Bytes of a step of so many tokens on one worker."""
        return self.state + tokens * self.token


def require_memory(
    model: ModelConfig,
    batch_tokens: int,
    group: Group,
    largest: int | None = None,
    *,
    options: LearnerOptions | None = None,
    lora: LoraConfig | None = None,
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
    need = MemoryEstimate.of(model, options, lora)
    if need.step(clip) > free:
        size, least = need.parameters + need.frozen, in_gib(need.step(clip))
        raise BadConfiguration(
            f"this model of {size:,} parameters needs at least {least} of memory to train on a single clip and "
            f"{in_gib(free)} are free: set optimization.activationCheckpointing, make the model smaller in "
            "spec.model.overrides, or raise spec.worker.resources memory"
        )
    room = int((free - need.state) * BOUND_SHARE / need.token)
    return PieceLimit(max(clip, min(share, room)), clip)

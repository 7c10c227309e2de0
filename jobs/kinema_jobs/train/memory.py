"""Refuses a training that cannot fit into memory, before its weights are made.

What is counted is a lower bound, so nothing is refused that could have run:

    state         24 bytes a parameter: weights, gradients, DDP's buckets of them, AdamW's two moments, their average
    activations   4 n L (22 D + 2 F) bytes for n tokens in L blocks of width D and feed-forward F: what one forward pass
                  keeps for the way back, without text, levels and the ends of the network

Both are held at once: gradients of one step live until the forward pass of the next is done. Of the peak of resident
memory over three steps on a CPU the bound was 59 % (width 128, 8640 tokens), 69 % (256, 4320), 70 % (512, 7200) and
90 % (1024, 576): most where the state is most. The rest is gradients on their way, the clips, and the allocator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from kinema_api.training import MAX_NODES
from kinema_jobs.memory import free_memory, in_gib
from kinema_jobs.train.failures import BadConfiguration, MemoryExhausted
from kinema_jobs.train.group import Group
from kinema_model.config import ModelConfig
from kinema_model.video_model import VideoModel

STATE_BYTES: Final = 24
"""Bytes a parameter while it is trained in float32."""
_FLOAT_BYTES: Final = 4
_KEPT_OF_WIDTH: Final = 22
"""Of a token in a block, rows of D numbers that the way back needs: inputs of norms, products, gates and attention."""
_KEPT_OF_HIDDEN: Final = 2
"""The same of F numbers: before and behind the activation of the feed-forward."""


@dataclass(frozen=True)
class Need:
    """Bytes that a model in training needs at least: of its parameters, and of every token in a step."""

    parameters: int
    token: int

    @classmethod
    def of(cls, model: ModelConfig) -> Need:
        """Counted on torch's meta device, which makes no weights."""
        with torch.device("meta"):
            parameters = sum(p.numel() for p in VideoModel(model).parameters())
        network = model.network
        row = _KEPT_OF_WIDTH * network.width + _KEPT_OF_HIDDEN * network.ffn_dim
        return cls(parameters, _FLOAT_BYTES * network.num_layers * row)

    @property
    def state(self) -> int:
        """Bytes that are there whatever a step holds."""
        return STATE_BYTES * self.parameters

    def step(self, tokens: int) -> int:
        """Bytes of a step of so many tokens on one worker."""
        return self.state + tokens * self.token


def require_memory(model: ModelConfig, batch_tokens: int, group: Group) -> None:
    """Refuse what cannot fit on this worker.

    Raises:
        BadConfiguration: the model with a single clip does not fit, or the step does not on any number of nodes.
        MemoryExhausted: this worker's share of a step does not fit, and would in a larger group.
    """
    free = free_memory(group.device)
    if free is None:
        return
    need, clip = Need.of(model), model.tokens_per_clip
    if need.step(clip) > free:
        raise BadConfiguration(
            f"this model of {need.parameters:,} parameters needs at least {in_gib(need.step(clip))} of memory to train "
            f"on a single clip and {in_gib(free)} are free: make it smaller in spec.model.overrides, or raise "
            "spec.worker.resources memory"
        )
    # What a step takes is whole clips, and some worker has no less than the mean.
    whole = max(1, batch_tokens // clip) * clip
    share = max(clip, whole // group.world_size)
    if need.step(share) > free:
        most = (free - need.state) // need.token // clip * clip * group.world_size
        ever = max(clip, whole // (MAX_NODES * group.local_world_size))
        failure = BadConfiguration if need.step(ever) > free else MemoryExhausted
        raise failure(
            f"a step of spec.optimization.batchTokens {batch_tokens} needs at least {in_gib(need.step(share))} of "
            f"memory on each of {group.world_size} workers and {in_gib(free)} are free: lower batchTokens to at most "
            f"{most}, raise spec.worker.resources memory, or train on more nodes"
        )

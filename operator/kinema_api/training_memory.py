"""Memory that training takes, computed from the network's config alone: parameters exactly, the rest as a lower bound.

    state         24 bytes a trained parameter: weights, gradients, DDP's buckets of them, AdamW's two moments, their
                  average; 4 bytes a frozen one
    activations   4 n L (22 D + 2 F) bytes for n tokens in L blocks of width D and feed-forward F: what one forward pass
                  keeps for the backward pass, without text, levels and the ends of the network; half of it with
                  products in bfloat16; 4 n (L D + 22 D + 2 F) with recomputation, which keeps inputs, and
                  one block at a time

Both are held at once: gradients of one step live until the forward pass of the next is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kinema_api.finetune import Lora
from kinema_api.weight_counts import Config, network_count, network_width, number

STATE_BYTES: Final = 24
"""Bytes a parameter while it is trained in float32."""
FROZEN_BYTES: Final = 4
"""Bytes a parameter that stays as it is."""
KEPT_OF_WIDTH: Final = 22
"""Rows of D numbers per token and block kept for the backward pass: inputs of norms, products, gates and attention."""
KEPT_OF_HIDDEN: Final = 2
"""Rows of F numbers per token and block: before and after the activation of the feed-forward."""
_FULL, _HALF = 4, 2


@dataclass(frozen=True)
class Means:
    """What decides how much memory a training takes, beside its network and its clips."""

    lora: Lora | None = None
    recompute: bool = False
    half: bool = False
    """Products in bfloat16."""

    def __str__(self) -> str:
        said = [f"lora of rank {self.lora.rank}"] if self.lora else []
        said += ["activationCheckpointing full"] if self.recompute else []
        said += ["precision bfloat16"] if self.half else []
        return " and ".join(said) or "no means to save memory"


@dataclass(frozen=True)
class TrainingMemory:
    """Parameters that are trained, parameters that stay as they are, and bytes of each token in a step."""

    trained: int
    frozen: int
    token: int

    @property
    def state(self) -> int:
        """Bytes that are there whatever a step holds."""
        return STATE_BYTES * self.trained + FROZEN_BYTES * self.frozen

    def step(self, tokens: int) -> int:
        """Bytes of a step of so many tokens on one worker, at least."""
        return self.state + tokens * self.token


def training_memory(network: Config, means: Means, *, null_text: bool = True) -> TrainingMemory:
    """What a network takes in training; `network` is its config.json, `null_text` whether it has a null token.

    Raises `BrokenFolder`, naming the field of the config.
    """
    whole = network_count(network).total + (number(network, "text_dim", 4096) if null_text else 0)
    trained = whole if means.lora is None else lora_parameters(network, means.lora)
    layers, width = number(network, "num_layers"), network_width(network)
    block = KEPT_OF_WIDTH * width + KEPT_OF_HIDDEN * number(network, "ffn_dim")
    kept = layers * width + block if means.recompute else layers * block
    return TrainingMemory(trained, whole if means.lora else 0, (_HALF if means.half else _FULL) * kept)


def lora_parameters(network: Config, lora: Lora) -> int:
    """Numbers of the adapters. Raises `BrokenFolder`, naming the field of the config."""
    width, hidden = network_width(network), number(network, "ffn_dim")
    # Two attentions in each block, and one feed-forward.
    sides = [width + hidden if target.startswith("ffn") else 2 * (width + width) for target in set(lora.targets)]
    return number(network, "num_layers") * lora.rank * sum(sides)


def sparing(network: Config, means: Means, tokens: int, free: int, *, fine_tuning: bool) -> str:
    """What would let a step of so many tokens fit into `free` bytes, as the end of a sentence; the least change first.

    Raises `BrokenFolder`, naming the field of the config.
    """
    for other in _more_sparing(means, fine_tuning=fine_tuning):
        need = training_memory(network, other).step(tokens)
        if need <= free:
            return f"set {other} in spec.optimization, with which it needs {in_gib(need)}"
    *_, least = (means, *_more_sparing(means, fine_tuning=fine_tuning))
    need = training_memory(network, least).step(tokens)
    return f"give workers {in_gib(need)} and set {least} in spec.optimization"


def in_gib(size: int) -> str:
    """Bytes for a message."""
    return f"{size / (1 << 30):.1f} GiB"


def _more_sparing(means: Means, *, fine_tuning: bool) -> Iterator[Means]:
    """Means that take less memory than these, those that change the result least first."""
    loras = (means.lora,) if means.lora or not fine_tuning else (None, Lora())
    for lora in loras:
        for half in sorted({means.half, True}):
            for recompute in sorted({means.recompute, True}):
                other = Means(lora, recompute, half)
                if other != means:
                    yield other

"""How the noise level and the prompt reach the blocks: as Latte's text-to-video model does it, and as ours does it.

Both give the same four things, so that a network can take either and the benchmark can tell what ours brings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kinema_model.layers import sinusoidal_features

_EMBEDDING_STD = 0.02


@dataclass(frozen=True)
class Condition:
    """`modulation` (B, 6, D) for every block, `head` (B, 2, D) for the last layer, text `states` (B, L, D), `mask`."""

    modulation: Tensor
    head: Tensor
    states: Tensor
    mask: Tensor


def feed_forward(width: int, hidden: int, out: int) -> nn.Sequential:
    """Two linear layers with tanh-approximated GELU between them."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, out))


def time_network(features: int, width: int) -> nn.Sequential:
    """Sinusoidal features of a diffusion step -> a vector of the token's width."""
    return nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))


def with_null(states: Tensor, mask: Tensor, null: Tensor) -> tuple[Tensor, Tensor]:
    """States and mask in which `null` is the one token of every row without text."""
    first = torch.zeros_like(mask)
    first[:, 0] = ~mask.any(dim=1)
    return torch.where(first[..., None], null, states), mask | first


class PublishedConditioning(nn.Module):
    """The step alone modulates, by one projection for all blocks; text is projected once for cross-attention.

    AdaLN-single and its initialisation are those of PixArt-alpha (Chen et al. 2023, arXiv:2310.00426), from
    whose weights Latte's text-to-video model starts; its null text is a fixed random token.
    """

    null: Tensor

    def __init__(self, time_dim: int, text_dim: int, width: int) -> None:
        super().__init__()
        self.time_dim = time_dim
        self.time = time_network(time_dim, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.head = nn.Parameter(torch.randn(2, width) / width**0.5)
        self.text = feed_forward(text_dim, width, width)
        self.register_buffer("null", torch.randn(text_dim) / text_dim**0.5)

    def initialise(self) -> None:
        """To be called after the network's own initialisation of all linear layers."""
        for layer in (*self.time, self.modulation, *self.text):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=_EMBEDDING_STD)

    def forward(self, times: Tensor, text: Tensor, mask: Tensor) -> Condition:
        """times (B,) in diffusion steps of 0 to 1000, text (B, L, text_dim), mask (B, L)."""
        embedded = self.time(sinusoidal_features(times, self.time_dim))
        modulation = self.modulation(nn.functional.silu(embedded)).unflatten(-1, (6, -1))
        states, mask = with_null(text, mask, self.null)
        return Condition(modulation, self.head + embedded[:, None], self.text(states), mask)


class OurConditioning(nn.Module):
    """Step and pooled prompt modulate together, from zero; text is normed, and its null token is learned.

    The formulas are those of docs/model.md; the pooled text stands in the modulation.
    """

    def __init__(self, time_dim: int, text_dim: int, width: int) -> None:
        super().__init__()
        self.time_dim = time_dim
        self.time = time_network(time_dim, width)
        self.pooled = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.head = nn.Linear(width, 2 * width)
        self.text = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, width))
        self.text_mlp = feed_forward(width, width, width)
        self.null = nn.Parameter(torch.randn(width) * _EMBEDDING_STD)

    def initialise(self) -> None:
        """To be called after the network's own initialisation of all linear layers."""
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.head.weight)

    def forward(self, times: Tensor, text: Tensor, mask: Tensor) -> Condition:
        """times (B,) in diffusion steps of 0 to 1000, text (B, L, text_dim), mask (B, L)."""
        states = self.text(text)
        states, mask = with_null(states + self.text_mlp(states), mask, self.null)
        weights = mask.to(states.dtype)[..., None]
        mean = (states * weights).sum(1) / weights.sum(1)
        embedded = self.time(sinusoidal_features(times, self.time_dim)) + self.pooled(mean)
        embedded = nn.functional.silu(embedded)
        modulation = self.modulation(embedded).unflatten(-1, (6, -1))
        return Condition(modulation, self.head(embedded).unflatten(-1, (2, -1)), states, mask)

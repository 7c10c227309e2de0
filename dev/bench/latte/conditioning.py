"""How the noise level and the prompt reach the blocks.

One projection of the level modulates all blocks (AdaLN-single of PixArt-alpha, Chen et al. 2023, arXiv:2310.00426,
from whose weights Latte's text-to-video model starts), and text is projected once for cross-attention. Ours does
the same from other first weights, and learns what stands for no text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.latte.positions import step_features

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


def with_null(states: Tensor, mask: Tensor, null: Tensor) -> tuple[Tensor, Tensor]:
    """States and mask in which `null` is the one token of every row without text."""
    first = torch.zeros_like(mask)
    first[:, 0] = ~mask.any(dim=1)
    return torch.where(first[..., None], null, states), mask | first


class Conditioning(nn.Module):
    """Level and text at the network's width; `ours` starts the modulation from zero and learns the null token."""

    def __init__(self, time_dim: int, text_dim: int, width: int, *, ours: bool) -> None:
        super().__init__()
        self.time_dim = time_dim
        self.ours = ours
        self.time = nn.Sequential(nn.Linear(time_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 6 * width)
        self.head = nn.Parameter(torch.zeros(2, width) if ours else torch.randn(2, width) / width**0.5)
        self.text = feed_forward(text_dim, width, width)
        # As published, no text is one random token for ever.
        spread = _EMBEDDING_STD if ours else text_dim**-0.5
        self.null = nn.Parameter(torch.randn(text_dim) * spread, requires_grad=ours)

    def initialise(self) -> None:
        """To be called after the network's own initialisation of all linear layers."""
        if self.ours:
            nn.init.zeros_(self.modulation.weight)
            return
        for layer in (*self.time, self.modulation, *self.text):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=_EMBEDDING_STD)

    def forward(self, times: Tensor, text: Tensor, mask: Tensor) -> Condition:
        """times (B,) in diffusion steps of 0 to 1000, text (B, L, text_dim), mask (B, L)."""
        embedded = self.time(step_features(times, self.time_dim))
        modulation = self.modulation(nn.functional.silu(embedded)).unflatten(-1, (6, -1))
        states, mask = with_null(text, mask, self.null)
        return Condition(modulation, self.head + embedded[:, None], self.text(states), mask)

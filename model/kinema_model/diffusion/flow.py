"""Rectified flow: a straight path from a clip to noise, and the loss of a network that predicts its velocity.

Level 0 is the clean clip and level 1 is noise (Liu et al. 2022, arXiv:2209.03003; Lipman et al. 2022,
arXiv:2210.02747): x_t = (1 - t) x_0 + t n, and the velocity dx/dt is n - x_0 everywhere on the line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from kinema_model.network.pack import Pack

Velocity = Callable[[Pack], Tensor]
LEVEL_BINS = 4
UNIFORM_SHARE: Final = 0.1
"""Share of training samples whose level is uniform in (0, 1). Shifted levels of large clips are hardly ever as low as
those of the last steps of sampling."""


def shift_levels(levels: Tensor, shift: float | Tensor) -> Tensor:
    """Levels in [0, 1], shifted towards noise: s t / (1 + (s - 1) t) (Esser et al. 2024, arXiv:2403.03206)."""
    # The same formula, written so that levels 0 and 1 stay exact.
    return levels / (levels + (1 - levels) / shift)


@dataclass(frozen=True)
class DrawnLevel:
    """A level in (0, 1) of a training sample, before the shift; a `uniform` one is not shifted."""

    value: float
    uniform: bool = False

    @classmethod
    def draw(cls, draw: np.random.Generator) -> "DrawnLevel":
        """Logit-normal (Esser et al. 2024, arXiv:2403.03206), or uniform for `UNIFORM_SHARE` of the samples."""
        normal, kind, anywhere = draw.standard_normal(), draw.random(), draw.random()
        return cls(anywhere, uniform=True) if kind < UNIFORM_SHARE else cls(1 / (1 + np.exp(-normal)))

    def shifted(self, shift: float) -> float:
        """The level of a clip with this shift."""
        return self.value if self.uniform else float(shift_levels(torch.tensor(self.value), shift))


@dataclass(frozen=True)
class FlowLoss:
    """The squared velocity error `total` (), summed over the tokens that are learnt, and their number `count` ().

    `bin_total` and `bin_count` (LEVEL_BINS,) are both by noise level, in bins of equal width, without gradient. The
    error of a token is the mean over its C pt ph pw numbers.
    """

    total: Tensor
    count: Tensor
    bin_total: Tensor
    bin_count: Tensor

    def detached(self) -> "FlowLoss":
        """The same values without their autograd graph."""
        return FlowLoss(self.total.detach(), self.count, self.bin_total, self.bin_count)

    @classmethod
    def summed(cls, parts: "Sequence[FlowLoss]") -> "FlowLoss":
        """The loss of all parts together."""
        return cls(
            torch.stack([part.total for part in parts]).sum(),
            torch.stack([part.count for part in parts]).sum(),
            torch.stack([part.bin_total for part in parts]).sum(0),
            torch.stack([part.bin_count for part in parts]).sum(0),
        )

    def by_level(self) -> tuple[float | None, ...]:
        """Mean per token by noise level, in equal bins from clean to noise; None for a bin without tokens."""
        pairs = zip(self.bin_total.tolist(), self.bin_count.tolist(), strict=True)
        return tuple(error / tokens if tokens else None for error, tokens in pairs)

    @property
    def mean(self) -> Tensor:
        """() mean over the tokens counted here; a group of processes divides by the count of the group instead."""
        return self.total / self.count.clamp(min=1)


def flow_loss(model: Velocity, clean: Pack, noise: Tensor, lowest: float = 0.0) -> FlowLoss:
    """The flow matching loss of a pack of clean latents at its levels, with standard normal `noise` (N, C pt ph pw).

    Below level `lowest` a token weighs (level / lowest)^2: as if an error of the clean clip were divided by `lowest`.
    Tokens at level 0 are inputs: the network sees them clean and they add nothing to the loss. Context tokens add
    nothing either.
    """
    levels = clean.token_levels
    t = levels[:, None]
    noisy = clean.at((1 - t) * clean.tokens + t * noise, clean.levels)
    error = (model(noisy).float() - (noise - clean.tokens).float()).square().mean(-1)
    made = ((levels > 0) & ~clean.context).to(error.dtype)
    if lowest > 0:
        error = error * (levels / lowest).clamp(max=1).square().to(error.dtype)
    total = error * made
    bins = (levels * LEVEL_BINS).long().clamp(max=LEVEL_BINS - 1)
    zeros = torch.zeros(LEVEL_BINS, device=error.device)
    return FlowLoss(total.sum(), made.sum(), zeros.index_add(0, bins, total.detach()), zeros.index_add(0, bins, made))

"""Rectified flow: a straight line from a clip to noise, and the loss of a network that tells its direction.

Level 0 is the clean clip and level 1 is noise (Liu et al. 2022, arXiv:2209.03003; Lipman et al. 2022,
arXiv:2210.02747): x_t = (1 - t) x_0 + t n, and the velocity dx/dt is n - x_0 everywhere on the line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema_model.draws import Stream, normal

Velocity = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def shift_levels(levels: Tensor, shift: float) -> Tensor:
    """Lean levels in [0, 1] towards noise: s t / (1 + (s - 1) t) (Esser et al. 2024, arXiv:2403.03206)."""
    # The same written so that 0 and 1 are kept exactly.
    return levels / (levels + (1 - levels) / shift)


def sample_levels(seed: int, samples: Sequence[int], step: int, shift: float) -> Tensor:
    """Logit-normal levels (B,), shifted towards noise; row i depends on (seed, samples[i], step) alone."""
    return shift_levels(torch.sigmoid(normal(Stream.LEVEL, seed, samples, step, ())), shift)


def noised(clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """x_t (B, C, T, H, W) of clean and noise of that shape at levels (B, T)."""
    t = levels[:, None, :, None, None]
    return (1 - t) * clean + t * noise


@dataclass(frozen=True)
class FlowLoss:
    """Squared velocity error summed over the elements that count, and how many they are.

    `per_clip` (B,) is each clip's mean error and `levels` (B,) its mean level, both without gradient.
    """

    total: Tensor
    count: Tensor
    per_clip: Tensor
    levels: Tensor

    @property
    def mean(self) -> Tensor:
        return self.total / self.count


def flow_loss(
    model: Velocity, latents: Tensor, text: Tensor, text_mask: Tensor, noise: Tensor, levels: Tensor
) -> FlowLoss:
    """Loss of clean latents (B, C, T, H, W) with noise of that shape at levels (B, T).

    Frames at level 0 are given, not made: they reach the network clean and add nothing to the loss.
    """
    predicted = model(noised(latents, noise, levels), levels, text, text_mask)
    error = (predicted.float() - (noise - latents).float()).square()
    made = (levels > 0).to(error.dtype)
    per_frame = error.mean(dim=(1, 3, 4)) * made
    elements = latents[0, :, 0].numel()
    total = per_frame.sum() * elements
    count = (made.sum() * elements).clamp(min=1)
    frames = made.sum(1).clamp(min=1)
    return FlowLoss(total, count, (per_frame.sum(1) / frames).detach(), levels.sum(1) / frames)

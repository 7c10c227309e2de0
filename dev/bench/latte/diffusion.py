"""The baseline's objective and sampler: noise prediction over 1000 steps with a learned variance, read by DDIM.

Sources: DDPM (Ho et al. 2020, arXiv:2006.11239) for the chain, Nichol and Dhariwal (2021, arXiv:2102.09672) for the
learned variance and the hybrid loss, DDIM (Song et al. 2020, arXiv:2010.02502) for the sampler. Steps are counted
from 0, the least noisy one; alpha_bar[t] is the share of signal power after step t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

STEPS = 1000
BETAS = (1e-4, 0.02)
_LEAST_PROBABILITY = 1e-12
_HALF_BIN = 1 / 255
"""Half the distance of two 8-bit values on [-1, 1]."""

Noise = Callable[[Tensor, Tensor], Tensor]
"""(noisy latents (B, C, T, H, W), steps (B,)) -> noise of that shape."""


@dataclass(frozen=True)
class Loss:
    """`simple` is the squared error of the noise, `bound` the variational term in bits per dimension; (B,) each."""

    simple: Tensor
    bound: Tensor

    @property
    def mean(self) -> Tensor:
        """L_simple + 0.001 L_vlb of arXiv:2102.09672: one term of the bound at a time stands for all 1000."""
        return (self.simple + self.bound).mean()


class Ddpm:
    """The chain of 1000 linearly growing noise steps. Tables are float32 of float64 sums."""

    def __init__(self) -> None:
        betas = torch.linspace(*BETAS, STEPS, dtype=torch.float64)
        bars = torch.cumprod(1 - betas, dim=0)
        before = torch.cat((torch.ones(1, dtype=torch.float64), bars[:-1]))
        variance = betas * (1 - before) / (1 - bars)
        # The first step's posterior has no width; the bound uses the second's, as published.
        clipped = torch.cat((variance[1:2], variance[1:]))
        self.alpha_bar = bars.float()
        self.log_beta = betas.log().float()
        self.posterior_log_variance = clipped.log().float()
        self._from_clean = (betas * before.sqrt() / (1 - bars)).float()
        self._from_noisy = ((1 - before) * (1 - betas).sqrt() / (1 - bars)).float()

    def noised(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """x_t of clean latents and noise (B, C, T, H, W) at steps (B,)."""
        bar = _over(self.alpha_bar, steps, clean)
        return bar.sqrt() * clean + (1 - bar).sqrt() * noise

    def clean_of(self, noisy: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """The clean latents that this noise would have made noisy: the inverse of `noised`."""
        bar = _over(self.alpha_bar, steps, noisy)
        return (noisy - (1 - bar).sqrt() * noise) / bar.sqrt()

    def posterior_mean(self, clean: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0)."""
        return _over(self._from_clean, steps, clean) * clean + _over(self._from_noisy, steps, clean) * noisy

    def log_variance(self, fraction: Tensor, steps: Tensor) -> Tensor:
        """The learned one: -1 is the posterior's, 1 is beta, and logarithms are mixed between them."""
        share = (fraction + 1) / 2
        lowest, highest = self.posterior_log_variance, self.log_beta
        return share * _over(highest, steps, fraction) + (1 - share) * _over(lowest, steps, fraction)

    def loss(self, emitted: Tensor, clean: Tensor, noise: Tensor, steps: Tensor) -> Loss:
        """Loss of what a network emits (B, 2C, T, H, W) for `noised(clean, noise, steps)`.

        The bound teaches the variance only: the predicted noise enters it without gradient.
        """
        predicted, fraction = emitted.float().chunk(2, dim=1)
        simple = (predicted - noise).square().flatten(1).mean(1)
        return Loss(simple, self.bound(predicted.detach(), fraction, clean, noise, steps))

    def bound(self, predicted: Tensor, fraction: Tensor, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """One term of the variational bound (B,), in bits per dimension, never negative.

        It is KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), and at step 0 the code length of 8-bit latents.
        """
        noisy = self.noised(clean, noise, steps)
        truth = self.posterior_mean(clean, noisy, steps)
        mean = self.posterior_mean(self.clean_of(noisy, predicted, steps), noisy, steps)
        log_variance = self.log_variance(fraction, steps)
        divergence = gaussian_divergence(truth, _over(self.posterior_log_variance, steps, clean), mean, log_variance)
        terms = torch.where(
            _shaped(steps == 0, clean), -discretised_log_likelihood(clean, mean, log_variance), divergence
        )
        return terms.flatten(1).mean(1) / math.log(2)


def gaussian_divergence(mean: Tensor, log_variance: Tensor, other: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(N(mean) || N(other)) in nats, elementwise."""
    ratio = log_variance - other_log_variance
    return 0.5 * (ratio.exp() - 1 - ratio + (mean - other).square() * (-other_log_variance).exp())


def discretised_log_likelihood(values: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Nats of 8-bit values on [-1, 1] under a Gaussian; the bins at both ends reach to infinity."""
    scale = (-0.5 * log_variance).exp()
    upper = torch.special.ndtr((values - mean + _HALF_BIN) * scale)
    lower = torch.special.ndtr((values - mean - _HALF_BIN) * scale)
    upper = torch.where(values > 1 - _HALF_BIN, torch.ones_like(upper), upper)
    lower = torch.where(values < -1 + _HALF_BIN, torch.zeros_like(lower), lower)
    return (upper - lower).clamp(min=_LEAST_PROBABILITY).log()


def ddim_steps(count: int) -> list[int]:
    """`count` of the 1000 steps from the last down to 0, evenly spaced, both ends among them."""
    if not 2 <= count <= STEPS:
        raise ValueError(f"{count} sampling steps do not fit a chain of {STEPS}. Use 2 to {STEPS}.")
    return [round(i * (STEPS - 1) / (count - 1)) for i in reversed(range(count))]


def ddim(ddpm: Ddpm, noise_of: Noise, x: Tensor, count: int) -> Tensor:
    """Clean latents of noise x (B, C, T, H, W) in `count` deterministic steps (eta 0).

    Each step's clean estimate is clamped to [-1, 1], as is usual where latents are pixels.
    """
    for step, following in pairwise([*ddim_steps(count), None]):
        assert step is not None
        steps = torch.full((len(x),), step, device=x.device)
        clean = ddpm.clean_of(x, noise_of(x, steps), steps).clamp(-1, 1)
        if following is None:
            return clean
        bar, next_bar = ddpm.alpha_bar[step], ddpm.alpha_bar[following]
        noise = (x - bar.sqrt() * clean) / (1 - bar).sqrt()
        x = next_bar.sqrt() * clean + (1 - next_bar).sqrt() * noise
    return x


def guided(
    network: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], text: Tensor, mask: Tensor, scale: float
) -> Noise:
    """The noise that a network tells, led away from what it says without text (arXiv:2207.12598).

    text (B, L, D) and mask (B, L); both halves go through the network in one batch.
    """
    both, both_mask = torch.cat((text, torch.zeros_like(text))), torch.cat((mask, torch.zeros_like(mask)))

    def noise_of(x: Tensor, steps: Tensor) -> Tensor:
        emitted = network(torch.cat((x, x)), torch.cat((steps, steps)), both, both_mask)[:, : x.shape[1]]
        with_text, without = emitted.chunk(2)
        return without + scale * (with_text - without)

    return noise_of


def _over(table: Tensor, steps: Tensor, like: Tensor) -> Tensor:
    """Each row's entry of a table (STEPS,), broadcastable over `like`."""
    return _shaped(table.to(like.device)[steps], like)


def _shaped(rows: Tensor, like: Tensor) -> Tensor:
    return rows.view(-1, *(1 for _ in like.shape[1:]))

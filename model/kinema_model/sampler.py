"""From noise to a clip: Euler steps along the learned velocity, with classifier-free guidance."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from kinema_model.draws import Stream, normal
from kinema_model.errors import SamplingStopped, ShapeError
from kinema_model.flow import Velocity, shift_levels

OnStep = Callable[[int, int], None]
ShouldStop = Callable[[], bool]
NO_GUIDANCE: Final = 1.0


def initial_noise(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Noise (len(seeds), *shape) where row i depends on seeds[i] alone, not on what else is in the batch."""
    rows = [normal(Stream.INITIAL_NOISE, seed, [0], 0, shape) for seed in seeds]
    return torch.cat(rows).to(device)


def euler_levels(steps: int, shift: float) -> list[float]:
    """steps + 1 levels from 1 down to 0; a shift above 1 spends more of them near noise."""
    if steps < 1:
        raise ShapeError(f"{steps} denoising steps cannot make a clip. Use at least 1.")
    return shift_levels(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift).tolist()


@torch.inference_mode()
def sample(
    model: Velocity,
    text: Tensor,
    mask: Tensor,
    shape: Sequence[int],
    steps: int,
    guidance_scale: float,
    seeds: Sequence[int],
    *,
    negative_text: Tensor | None = None,
    negative_mask: Tensor | None = None,
    shift: float = 1.0,
    on_step: OnStep | None = None,
    should_stop: ShouldStop | None = None,
) -> Tensor:
    """Latents (B, C, T, H, W) for text (B, L, D) and mask (B, L); `shape` is (C, T, H, W), one seed per clip.

    Guidance follows v = v_0 + g (v_text - v_0) (Ho and Salimans 2022, arXiv:2207.12598), where v_0 is the
    velocity for the negative text, or for no text. `on_step(done, steps)` is called after each step;
    `should_stop()` is asked before each. Raises `SamplingStopped`.
    """
    if len(seeds) != text.shape[0]:
        raise ShapeError(f"{len(seeds)} seeds do not fit {text.shape[0]} prompts. Give one seed per prompt.")
    x = initial_noise(seeds, shape, text.device)
    velocity = _guided(model, text, mask, negative_text, negative_mask, guidance_scale)
    levels = euler_levels(steps, shift)
    for done, (level, following) in enumerate(pairwise(levels), start=1):
        if should_stop is not None and should_stop():
            raise SamplingStopped(f"Stopped after {done - 1} of {steps} steps. Submit the request again.")
        x = x + (following - level) * velocity(x, level)
        if on_step is not None:
            on_step(done, steps)
    return x


def _guided(
    model: Velocity,
    text: Tensor,
    mask: Tensor,
    negative_text: Tensor | None,
    negative_mask: Tensor | None,
    guidance_scale: float,
) -> Callable[[Tensor, float], Tensor]:
    """The velocity as a function of (x, level) only, with and without text in one batch."""
    batch = text.shape[0]
    if guidance_scale == NO_GUIDANCE:
        return lambda x, level: model(x, x.new_full((batch, x.shape[2]), level), text, mask)
    if negative_text is None or negative_mask is None:
        negative_text, negative_mask = torch.zeros_like(text), torch.zeros_like(mask)
    length = max(text.shape[1], negative_text.shape[1])
    both_text = torch.cat((_padded(text, length), _padded(negative_text, length)))
    both_mask = torch.cat((_padded(mask, length), _padded(negative_mask, length)))

    def velocity(x: Tensor, level: float) -> Tensor:
        levels = x.new_full((2 * batch, x.shape[2]), level)
        with_text, without = model(torch.cat((x, x)), levels, both_text, both_mask).chunk(2)
        return without + guidance_scale * (with_text - without)

    return velocity


def _padded(rows: Tensor, length: int) -> Tensor:
    """Rows (B, L, ...) with zeros (False for masks) up to (B, length, ...)."""
    extra = rows.new_zeros((rows.shape[0], length - rows.shape[1], *rows.shape[2:]))
    return torch.cat((rows, extra), dim=1)

"""From noise to clips: Euler steps along the learned velocity, with classifier-free guidance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from kinema_model.diffusion.flow import Velocity, shift_levels
from kinema_model.errors import NotFinite, SamplingStopped, ShapeError
from kinema_model.network.pack import Pack, Sample, pack_samples, patchify, unpack
from kinema_model.rng import RngStream, normal

OnStep = Callable[[int, int], None]
ShouldStop = Callable[[], bool]
NO_GUIDANCE: Final = 1.0


@dataclass(frozen=True)
class Guidance:
    """v = v_0 + scale (v_text - v_0) (Ho and Salimans 2022, arXiv:2207.12598), v_0 the velocity for `texts`.

    `texts` stand against the prompts, one (L, text_dim) for each; empty ones are no text. `rescale` in [0, 1] draws
    the deviation of the result back towards that of v_text (Lin et al. 2023, arXiv:2305.08891, section 3.4).
    """

    scale: float
    texts: Sequence[Tensor]
    rescale: float = 0.0


def initial_noise(seed: int, shape: Sequence[int], chunk: int = 0) -> Tensor:
    """Standard normal float32 of `shape`, by the seed and the chunk alone, not by what else is in a batch."""
    return normal(RngStream.INITIAL_NOISE, seed, [chunk], 0, shape)[0]


def euler_levels(steps: int, shift: float, start: float = 1.0) -> list[float]:
    """`steps` + 1 levels from `start` in (0, 1] down to 0; a shift above 1 spends more of them near noise.

    Steps are even before the shift (Esser et al. 2024, arXiv:2403.03206, section 5.3.2). Raises `ShapeError`.
    """
    if steps < 1:
        raise ShapeError(f"{steps} denoising steps cannot make a clip. Use at least 1.")
    if not 0 < start <= 1:
        raise ShapeError(f"A clip cannot be made from a noise level of {start:g}. Use more than 0 and at most 1.")
    first = float(shift_levels(torch.tensor(start, dtype=torch.float64), 1 / shift))
    return shift_levels(torch.linspace(first, 0, steps + 1, dtype=torch.float64), shift).tolist()


@torch.inference_mode()
def sample(
    model: Velocity,
    samples: Sequence[Sample],
    seeds: Sequence[int],
    patch: tuple[int, int, int],
    levels: Sequence[float],
    *,
    guidance: Guidance | None = None,
    chunk: int = 0,
    device: torch.device | str = "cpu",
    on_step: OnStep | None = None,
    should_stop: ShouldStop | None = None,
) -> list[Tensor]:
    """Latents (C, T, H, W) of the first part of each sample, made where its levels are above 0, by Euler steps.

    A token's level is that of its part times the falling `levels`; what a part holds where its level is 0 is given and
    stays as it is. Where the first of `levels` is below 1, the clip begins as what its part holds, noised so far. Clips
    that are made in chunks name the `chunk`, so that each has noise of its own. `on_step(done, steps)` is called after
    each step; `should_stop()` is asked before each.

    Raises `SamplingStopped`, `NotFinite` for a model that overflows, and `ShapeError` for another number of seeds than
    of samples.
    """
    if len(seeds) != len(samples):
        raise ShapeError(f"{len(seeds)} seeds do not fit {len(samples)} prompts. Give one seed per prompt.")
    pack = pack_samples(samples, patch).to(device)
    made = pack.token_levels[:, None]
    x = pack.tokens + levels[0] * made * (_noise(samples, seeds, patch, chunk).to(device) - pack.tokens)
    velocity = _guided(model, samples, pack, patch, guidance)
    x = _integrated(x, made, velocity, levels, on_step, should_stop)
    return [parts[0] for parts in unpack(x, pack, patch)]


def _integrated(
    x: Tensor,
    made: Tensor,
    velocity: Callable[[Tensor, float], Tensor],
    levels: Sequence[float],
    on_step: OnStep | None,
    should_stop: ShouldStop | None,
) -> Tensor:
    """Tokens (N, C pt ph pw) after Euler steps, those that are `made` (N, 1). Raises `SamplingStopped`, `NotFinite`."""
    steps = len(levels) - 1
    for done, (level, following) in enumerate(pairwise(levels), start=1):
        if should_stop is not None and should_stop():
            raise SamplingStopped(f"Stopped after {done - 1} of {steps} steps. Submit the request again.")
        x = x + (following - level) * made * velocity(x, level)
        if on_step is not None:
            on_step(done, steps)
    if not bool(torch.isfinite(x).all()):
        raise NotFinite(
            "The model's outputs were not finite. Use another model, or publish this one "
            "again from a training with a lower learning rate."
        )
    return x


def _noise(samples: Sequence[Sample], seeds: Sequence[int], patch: tuple[int, int, int], chunk: int) -> Tensor:
    """Noise for the first part of each sample, and none for what it is given beside that."""
    return torch.cat(
        [
            patchify(initial_noise(seed, part.latents.shape, chunk) if first == 0 else part.latents, patch)
            for sample_, seed in zip(samples, seeds, strict=True)
            for first, part in enumerate(sample_.parts)
        ]
    )


def _guided(
    model: Velocity, samples: Sequence[Sample], pack: Pack, patch: tuple[int, int, int], guidance: Guidance | None
) -> Callable[[Tensor, float], Tensor]:
    """The velocity as a function of (x, level) only, with and without text in one pack."""
    if guidance is None or guidance.scale == NO_GUIDANCE:
        return lambda x, level: model(pack.at(x, pack.levels * level))
    against = [replace(s, text=text, cuts=()) for s, text in zip(samples, guidance.texts, strict=True)]
    both = pack_samples([*samples, *against], patch).to(pack.tokens.device)

    def velocity(x: Tensor, level: float) -> Tensor:
        with_text, without = model(both.at(torch.cat((x, x)), both.levels * level)).chunk(2)
        guided = without + guidance.scale * (with_text - without)
        return _rescaled(guided, with_text, pack, guidance.rescale) if guidance.rescale else guided

    return velocity


def _rescaled(guided: Tensor, with_text: Tensor, pack: Pack, share: float) -> Tensor:
    """Each clip's deviation drawn towards that of its velocity with text, over what is made of it alone."""
    lengths = list(pack.clips.lengths)
    parts = (torch.split(each, lengths) for each in (guided, with_text, pack.token_levels > 0))
    found = []
    for ours, theirs, made in zip(*parts, strict=True):
        deviation = ours[made].std()
        # A velocity that is the same everywhere has no deviation to draw.
        ratio = torch.where(deviation > 0, theirs[made].std() / deviation, 1.0) if made.any() else 1.0
        found.append(ours * (1 - share + share * ratio))
    return torch.cat(found)

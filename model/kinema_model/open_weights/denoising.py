"""From noise to latents with the one or two networks of a folder, as Wan's pipelines do it.

A given first frame is told in one of two ways: as channels beside the noise with a mask (Wan 2.1 I2V, 2.2 A14B), or as
a first latent row whose tokens have the noise level 0 (Wan 2.2 TI2V).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from kinema_model.diffusion.sampler import NO_GUIDANCE, OnStep, ShouldStop
from kinema_model.errors import NotFinite, SamplingStopped
from kinema_model.network.pack import Pack, Sample, pack_samples, patchify, unpack
from kinema_model.network.pack import Part as Box
from kinema_model.network.transformer import VideoTransformer
from kinema_model.open_weights.configs import TEMPORAL_STRIDE
from kinema_model.open_weights.offload import Part
from kinema_model.open_weights.schedule import Schedule

_MASK_ROWS: Final = 1


@dataclass(frozen=True)
class FirstFrame:
    """What the networks are told of a given first frame; nothing of it is set for words alone.

    `channels` (C', T', H', W') stand beside the noise, `row` (z, 1, H', W') in place of its first row, `states`
    (I, image_dim) beside the text.
    """

    channels: Tensor | None = None
    row: Tensor | None = None
    states: Tensor | None = None


def masked_channels(latents: Tensor) -> Tensor:
    """(4 + z, T', H', W'): a mask that is 1 for the 4 frames of the first row, and the latents of the given video.

    `latents` (z, T', H', W') are those of a video whose first frame is given and whose others are grey.
    """
    mask = latents.new_zeros(TEMPORAL_STRIDE, *latents.shape[1:])
    mask[:, :_MASK_ROWS] = 1
    return torch.cat((mask, latents))


@dataclass(frozen=True)
class Experts:
    """Networks and their guidance: the first at levels of `boundary` and above, the last below.

    `together`: prompt and negative prompt go through a network as one pack. This takes the memory of two clips, and
    blocks that are offloaded are moved once for both.
    """

    parts: Sequence[Part]
    guidance: Sequence[float]
    boundary: float = 0.0
    together: bool = False

    def at(self, level: float) -> int:
        """Which network this level belongs to."""
        return 0 if level >= self.boundary else len(self.parts) - 1


class Denoiser:
    """One clip on its way: its noise, texts (512, text_dim) of prompt and negative prompt, and its first frame."""

    def __init__(self, experts: Experts, texts: tuple[Tensor, Tensor], first: FirstFrame) -> None:
        self._experts, self._texts, self._first = experts, texts, first
        self._packs: dict[tuple[int, ...], Pack] = {}

    @torch.no_grad()
    def run(self, noise: Tensor, schedule: Schedule, on_step: OnStep | None, should_stop: ShouldStop | None) -> Tensor:
        """Latents (z, T', H', W') float32, normalised, of noise of that shape.

        `on_step(done, steps)` is called after each step; `should_stop()` is asked before each. Raises
        `SamplingStopped`, and `NotFinite` for weights that overflow.
        """
        latents, levels, number = noise, schedule.levels, 0
        while number < len(levels):
            expert = self._experts.at(levels[number])
            with self._experts.parts[expert].here():
                while number < len(levels) and self._experts.at(levels[number]) == expert:
                    if should_stop is not None and should_stop():
                        raise SamplingStopped("Sampling was stopped before the clip was complete.")
                    latents = schedule.step(number, self._velocity(expert, latents, levels[number]), latents)
                    number += 1
                    if on_step is not None:
                        on_step(number, len(levels))
        if not bool(torch.isfinite(latents).all()):
            raise NotFinite(
                "These weights made numbers that are not finite. Use bfloat16 or float32, or other weights."
            )
        return self._held(latents)

    def _velocity(self, expert: int, latents: Tensor, level: float) -> Tensor:
        """v_0 + scale (v_text - v_0) (arXiv:2207.12598), v_0 the velocity for the negative prompt."""
        scale = self._experts.guidance[expert]
        if scale == NO_GUIDANCE:
            return self._said(expert, latents, level, (0,))[0]
        if self._experts.together:
            with_text, without = self._said(expert, latents, level, (0, 1))
        else:
            (with_text,), (without,) = (self._said(expert, latents, level, (which,)) for which in (0, 1))
        return without + scale * (with_text - without)

    def _said(self, expert: int, latents: Tensor, level: float, which: tuple[int, ...]) -> list[Tensor]:
        """The network's velocity (z, T', H', W') float32 for each of these texts."""
        network = self._experts.parts[expert].module
        assert isinstance(network, VideoTransformer)
        patch, dtype = network.config.patch_size, network.patch_embedding.weight.dtype
        given = self._held(latents)
        if self._first.channels is not None:
            given = torch.cat((given, self._first.channels))
        pack = self._packs.get(which) or self._packs.setdefault(which, self._pack(given, which, network))
        tokens = patchify(given, patch).to(dtype).repeat(len(which), 1)
        emitted = network(pack.at(tokens, level * pack.levels))
        channels_first = emitted.view(len(emitted), -1, network.config.out_channels).transpose(1, 2).flatten(1)
        return [parts[0].float() for parts in unpack(channels_first, pack, patch)]

    def _pack(self, given: Tensor, which: tuple[int, ...], network: VideoTransformer) -> Pack:
        """Clips of these texts, with level 1 where the clip is noised and 0 where it is given."""
        dtype = network.patch_embedding.weight.dtype
        _, rows, columns = network.config.patch_size
        frames, height, width = given.shape[1], given.shape[2] // rows, given.shape[3] // columns
        levels = torch.ones(frames, height, width, device=given.device)
        if self._first.row is not None:
            levels[0] = 0
        box = Box(given.to(dtype), levels, torch.arange(frames, device=given.device))
        states = None if self._first.states is None else self._first.states.to(dtype)
        samples = [Sample((box,), self._texts[each].to(dtype), states) for each in which]
        return pack_samples(samples, network.config.patch_size)

    def _held(self, latents: Tensor) -> Tensor:
        """The latents with the given first row in place, if there is one."""
        if self._first.row is None:
            return latents
        return torch.cat((self._first.row, latents[:, 1:]), dim=1)

"""From noise to latents with the one or two networks of a folder, as Wan's pipelines do it.

A first frame conditions the networks in one of two ways: as channels beside the noise, with a mask (Wan 2.1 I2V, 2.2
A14B), or as the first latent row, whose tokens have noise level 0 (Wan 2.2 TI2V).
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
    """The condition that a first frame is for the networks; all are None for clips from a prompt alone.

    `channels` (C', T', H', W') are concatenated to the noise, `row` (z, 1, H', W') replaces its first row, and
    `states` (I, image_dim) of the image encoder are attended to beside the text.
    """

    channels: Tensor | None = None
    row: Tensor | None = None
    states: Tensor | None = None


def masked_channels(latents: Tensor) -> Tensor:
    """(4 + z, T', H', W'): a mask that is 1 for the 4 frames of the first row, and `latents`.

    `latents` (z, T', H', W') are those of a video of the first frame followed by grey ones.
    """
    mask = latents.new_zeros(TEMPORAL_STRIDE, *latents.shape[1:])
    mask[:, :_MASK_ROWS] = 1
    return torch.cat((mask, latents))


@dataclass(frozen=True)
class Experts:
    """Networks and their guidance: the first at levels of `boundary` and above, the last below.

    `together`: a network takes prompt and negative prompt as one pack. This needs the memory of two clips, and
    offloaded blocks are copied once for both.
    """

    parts: Sequence[Part]
    guidance: Sequence[float]
    boundary: float = 0.0
    together: bool = False

    def at(self, level: float) -> int:
        """Which network this level belongs to."""
        return 0 if level >= self.boundary else len(self.parts) - 1


class Denoiser:
    """Denoises one clip: texts (512, text_dim) of prompt and negative prompt, and the condition of its first frame."""

    def __init__(self, experts: Experts, texts: tuple[Tensor, Tensor], first: FirstFrame) -> None:
        self._experts, self._texts, self._first = experts, texts, first
        self._packs: dict[tuple[int, ...], Pack] = {}

    @torch.no_grad()
    def run(self, noise: Tensor, schedule: Schedule, on_step: OnStep | None, should_stop: ShouldStop | None) -> Tensor:
        """Latents (z, T', H', W') float32, normalised, of noise of that shape.

        `on_step(done, steps)` is called after each step, `should_stop()` before each. Raises
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
                "These weights computed numbers that are not finite. Use bfloat16 or float32, or other weights."
            )
        return self._with_first_row(latents)

    def _velocity(self, expert: int, latents: Tensor, level: float) -> Tensor:
        """v_0 + scale (v_text - v_0) (arXiv:2207.12598), v_0 the velocity for the negative prompt."""
        scale = self._experts.guidance[expert]
        if scale == NO_GUIDANCE:
            return self._velocities(expert, latents, level, (0,))[0]
        if self._experts.together:
            with_text, without = self._velocities(expert, latents, level, (0, 1))
        else:
            (with_text,), (without,) = (self._velocities(expert, latents, level, (text,)) for text in (0, 1))
        return without + scale * (with_text - without)

    def _velocities(self, expert: int, latents: Tensor, level: float, texts: tuple[int, ...]) -> list[Tensor]:
        """The network's velocity (z, T', H', W') float32 for each of these texts."""
        network = self._experts.parts[expert].module
        assert isinstance(network, VideoTransformer)
        patch, dtype = network.config.patch_size, network.patch_embedding.weight.dtype
        inputs = self._with_first_row(latents)
        if self._first.channels is not None:
            inputs = torch.cat((inputs, self._first.channels))
        pack = self._packs.get(texts) or self._packs.setdefault(texts, self._pack(inputs, texts, network))
        tokens = patchify(inputs, patch).to(dtype).repeat(len(texts), 1)
        emitted = network(pack.at(tokens, level * pack.levels))
        channels_first = emitted.view(len(emitted), -1, network.config.out_channels).transpose(1, 2).flatten(1)
        return [parts[0].float() for parts in unpack(channels_first, pack, patch)]

    def _pack(self, inputs: Tensor, texts: tuple[int, ...], network: VideoTransformer) -> Pack:
        """Clips of these texts; levels are 1 for tokens with noise and 0 for those of the first frame."""
        dtype = network.patch_embedding.weight.dtype
        _, rows, columns = network.config.patch_size
        frames, height, width = inputs.shape[1], inputs.shape[2] // rows, inputs.shape[3] // columns
        levels = torch.ones(frames, height, width, device=inputs.device)
        if self._first.row is not None:
            levels[0] = 0
        box = Box(inputs.to(dtype), levels, torch.arange(frames, device=inputs.device))
        states = None if self._first.states is None else self._first.states.to(dtype)
        samples = [Sample((box,), self._texts[each].to(dtype), states) for each in texts]
        return pack_samples(samples, network.config.patch_size)

    def _with_first_row(self, latents: Tensor) -> Tensor:
        """The latents with the first frame's row in place of their first, if there is one."""
        if self._first.row is None:
            return latents
        return torch.cat((self._first.row, latents[:, 1:]), dim=1)

"""A loss that can be compared across runs: always the same clips, noise and levels, with the published weights.

The loss of a training step has other samples each time, so its curve is noisy and runs cannot be compared by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor
from torch.func import functional_call

from kinema_model.codec.codec import Codec, make_codec, to_float
from kinema_model.codec.latents import whole_clip
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser, lowest_level
from kinema_model.diffusion.flow import FlowLoss, Velocity, flow_loss
from kinema_model.network.pack import Pack, Part, Sample, pack_samples, patchify
from kinema_model.rng import RngStream, normal
from kinema_model.source import Clip, Source
from kinema_model.text.encoder import TextEncoder

SAMPLES: Final = 16
"""Noise levels, each with a clip."""
# Above every seed that a training can have, so that no training has drawn this noise.
_SEED: Final = 2**40 + 1
# As many tokens are computed at once, or a single clip: all together would need more memory than a step.
_MOST_TOKENS: Final = 16_384


class Validation:
    """Clips of a source that no training uses, with short captions, at noise levels spread evenly over (0, 1).

    A source with fewer clips than levels shows each at several levels, so that its loss is one of all levels too.
    """

    def __init__(
        self, config: ModelConfig, encoder: TextEncoder, source: Source, device: torch.device | str = "cpu"
    ) -> None:
        self._device = torch.device(device)
        codec = make_codec(config)
        clips = source.validation(SAMPLES)
        texts = encoder.encode([clip.captions.short for clip in clips])
        parts = [whole_clip(config, codec.encode(to_float(clip.video[None]))[0], clip.fps) for clip in clips]
        pieces: list[list[tuple[Sample, Tensor]]] = []
        room = 0
        for number in range(SAMPLES):
            part, text = parts[number % len(parts)], texts[number % len(parts)]
            sample = Sample((replace(part, levels=part.levels * (number + 0.5) / SAMPLES),), text)
            noise = patchify(normal(RngStream.NOISE, _SEED, [number], 0, part.latents.shape)[0], config.patch)
            if not pieces or len(noise) > room:
                pieces.append([])
                room = _MOST_TOKENS
            pieces[-1].append((sample, noise))
            room -= len(noise)
        self._batches = [
            (pack_samples([sample for sample, _ in piece], config.patch), torch.cat([noise for _, noise in piece]))
            for piece in pieces
        ]

    @torch.no_grad()
    def losses(self, model: VideoDenoiser, weights: Mapping[str, Tensor]) -> FlowLoss:
        """Squared velocity errors of the model with these weights, such as `Ema.shadow`, in all and by noise level.

        `weights` holds parameters of `VideoDenoiser` by name, each in its own shape; others are the model's own.
        """
        lowest = lowest_level(model.config)

        def velocity(pack: Pack) -> Tensor:
            found: Tensor = functional_call(model, dict(weights), (pack,))
            return found

        return FlowLoss.summed(
            [
                flow_loss(velocity, pack.to(self._device), noise.to(self._device), lowest)
                for pack, noise in self._batches
            ]
        )

    def loss(self, model: VideoDenoiser, weights: Mapping[str, Tensor]) -> float:
        """Mean of `losses` per token."""
        return float(self.losses(model, weights).mean)


@dataclass(frozen=True)
class LevelLosses:
    """Measures the loss of a model clip by clip and level by level, with noise that no training has drawn."""

    config: ModelConfig
    codec: Codec
    encoder: TextEncoder
    device: torch.device | str = "cpu"

    @torch.no_grad()
    def losses(
        self, model: Velocity, clips: Sequence[Clip], captions: Sequence[str], levels: Sequence[float]
    ) -> Tensor:
        """(N, L) mean squared velocity error per number of latents, of each clip with its caption at each level."""
        rows = []
        for number, (clip, text) in enumerate(zip(clips, self.encoder.encode(captions), strict=True)):
            part = self._part(clip)
            noise = patchify(normal(RngStream.NOISE, _SEED, [number], 0, part.latents.shape)[0], self.config.patch)
            row = []
            for level in levels:
                sample = Sample((replace(part, levels=part.levels * level),), text)
                pack = pack_samples([sample], self.config.patch).to(self.device)
                row.append(float(flow_loss(model, pack, noise.to(self.device), lowest_level(self.config)).mean))
            rows.append(row)
        return torch.tensor(rows)

    @torch.no_grad()
    def gaussian(self, clips: Sequence[Clip], levels: Sequence[float]) -> Tensor:
        """(L,) the loss of a model that knows mean and variance of each number of a patch, and nothing else.

        The best velocity is linear in x_t = (1 - t) x + t n, and its squared error is s / ((1 - t)^2 s + t^2), with s
        the variance of x: the conditional variance of jointly normal numbers. It weighs as in `losses`.
        """
        tokens = torch.cat([self.tokens(clip) for clip in clips]).double()
        variance, lowest = tokens.var(dim=0), lowest_level(self.config)
        errors = [(variance / ((1 - level) ** 2 * variance + level**2)).mean() for level in levels]
        weights = [min(1.0, level / lowest) ** 2 if lowest > 0 else 1.0 for level in levels]
        return torch.tensor([float(error) * weight for error, weight in zip(errors, weights, strict=True)])

    def tokens(self, clip: Clip) -> Tensor:
        """(N, C pt ph pw) the latents of a clip as tokens."""
        return patchify(self._part(clip).latents, self.config.patch)

    def _part(self, clip: Clip) -> Part:
        return whole_clip(self.config, self.codec.encode(to_float(clip.video[None]))[0], clip.fps)

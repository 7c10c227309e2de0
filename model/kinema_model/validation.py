"""A loss that can be compared across runs: always the same clips, noise and levels, with the published weights.

The loss of a training step has other samples each time, so its curve is noisy and runs cannot be compared by it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor
from torch.func import functional_call

from kinema_model.codec.codec import make_codec, to_float
from kinema_model.codec.latents import whole_clip
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser, lowest_level
from kinema_model.diffusion.flow import flow_loss
from kinema_model.network.pack import Sample, pack_samples, patchify
from kinema_model.rng import RngStream, normal
from kinema_model.source import Source
from kinema_model.text.encoder import TextEncoder

CLIPS: Final = 16
# Above every seed that a training can have, so that no training has drawn this noise.
_SEED: Final = 2**40 + 1


class Validation:
    """Clips of a source that no training uses, with short captions, at noise levels spread evenly over (0, 1)."""

    def __init__(
        self, config: ModelConfig, encoder: TextEncoder, source: Source, device: torch.device | str = "cpu"
    ) -> None:
        codec = make_codec(config)
        samples, noises = [], []
        clips = source.validation(CLIPS)
        texts = encoder.encode([clip.captions.short for clip in clips])
        for number, (clip, text) in enumerate(zip(clips, texts, strict=True)):
            part = whole_clip(config, codec.encode(to_float(clip.video[None]))[0], clip.fps)
            samples.append(Sample((replace(part, levels=part.levels * (number + 0.5) / CLIPS),), text))
            noise = normal(RngStream.NOISE, _SEED, [number], 0, part.latents.shape)[0]
            noises.append(patchify(noise, config.patch))
        self._pack = pack_samples(samples, config.patch).to(device)
        self._noise = torch.cat(noises).to(device)

    @torch.no_grad()
    def loss(self, model: VideoDenoiser, weights: Mapping[str, Tensor]) -> float:
        """Mean squared velocity error per token of the model with these weights, such as `Ema.shadow`.

        `weights` holds the parameters of `VideoDenoiser` by name, each in its own shape.
        """
        return float(
            flow_loss(
                lambda pack: functional_call(model, dict(weights), (pack,)),
                self._pack,
                self._noise,
                lowest_level(model.config),
            ).mean
        )

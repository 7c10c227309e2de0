"""The network with its parameterisation: packed noisy latents in, velocity out."""

from math import prod

import torch
from torch import Tensor, nn

from kinema_model.config import ModelConfig
from kinema_model.network.kv_cache import KVCache
from kinema_model.network.pack import Pack
from kinema_model.network.position_channel import position_channel
from kinema_model.network.transformer import VideoTransformer, initialise
from kinema_model.precision import products_in

# The velocity of a clean prediction is divided by the noise level. Below this level the loss weighs that error as if it
# were divided by this number, so that it does not grow without bound (as in JiT, arXiv:2511.13720). Sampling divides by
# the level itself: a larger divisor would leave noise in the clip, more of it the more steps lie below this level.
LOWEST_DIVISOR = 0.05


def lowest_level(config: ModelConfig) -> float:
    """The noise level in [0, 1] below which the loss of a token weighs less; 0 for a prediction of velocity."""
    return LOWEST_DIVISOR if config.prediction == "clean" else 0.0


def velocity_to(clean: Tensor, pack: Pack) -> Tensor:
    """The velocity (N, C pt ph pw) of a pack from its clean tokens, of the same shape; 0 for tokens at level 0."""
    levels = pack.token_levels[:, None]
    return (pack.tokens - clean) / torch.where(levels > 0, levels, torch.inf)


class VideoDenoiser(nn.Module):
    """The model that is trained and sampled: the velocity, from clean towards noise, of every token of a pack.

    Products are computed in `precision`; weights and the velocity are float32.
    """

    def __init__(self, config: ModelConfig, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.precision = precision
        self.network = VideoTransformer(config.network)
        initialise(self.network)

    def forward(self, pack: Pack, kv_cache: KVCache | None = None) -> Tensor:
        """(N, C pt ph pw) in the layout of `pack.tokens`. Raises `ShapeError`."""
        with products_in(self.precision, pack.tokens.device.type):
            emitted = self._emit(pack, kv_cache)
        if self.config.prediction == "velocity":
            return emitted
        return velocity_to(emitted, pack)

    def _emit(self, pack: Pack, kv_cache: KVCache | None) -> Tensor:
        """The output of the last layer (N, C pt ph pw), channels first; the published layout has them last."""
        inputs = pack.tokens
        if self.config.places != "none":
            positions = position_channel(
                pack, self.config.position_channels * prod(self.config.patch), time=self.config.places == "space-time"
            )
            inputs = torch.cat((inputs, positions.to(inputs.dtype)), dim=1)
        emitted: Tensor = self.network(pack.at(inputs, pack.levels), kv_cache)
        return emitted.view(len(emitted), prod(self.config.patch), -1).transpose(1, 2).flatten(1)

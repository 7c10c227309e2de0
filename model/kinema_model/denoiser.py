"""A network with the meaning of its numbers: packed noisy latents in, velocity out."""

from math import prod

import torch
from torch import Tensor, nn

from kinema_model.config import ModelConfig
from kinema_model.network.kv_cache import KVCache
from kinema_model.network.pack import Pack
from kinema_model.network.position_channel import position_channel
from kinema_model.network.transformer import VideoTransformer, initialise

# Below this level the loss of a clean prediction weighs no more than here, so that the division by the level does not
# amplify what the network cannot know (as in JiT, arXiv:2511.13720). Sampling divides by the level as it is: anything
# else would leave noise behind, the more of it the more steps are taken down there.
LOWEST_DIVISOR = 0.05


def lowest_level(config: ModelConfig) -> float:
    """Below this level the loss of a token weighs less; 0 where no level is special."""
    return LOWEST_DIVISOR if config.prediction == "clean" else 0.0


def velocity_to(clean: Tensor, pack: Pack) -> Tensor:
    """The velocity (N, C pt ph pw) of a pack whose clean tokens are these; what stands at level 0 goes nowhere."""
    levels = pack.token_levels[:, None]
    return (pack.tokens - clean) / torch.where(levels > 0, levels, torch.inf)


class VideoDenoiser(nn.Module):
    """What is trained and sampled from: velocity, the direction from clean to noise, of every token of a pack."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.network = VideoTransformer(config.network)
        initialise(self.network)

    def forward(self, pack: Pack, kv_cache: KVCache | None = None) -> Tensor:
        """(N, C pt ph pw) in the layout of `pack.tokens`. Raises `ShapeError`."""
        emitted = self._emit(pack, kv_cache)
        if self.config.prediction == "velocity":
            return emitted
        return velocity_to(emitted, pack)

    def _emit(self, pack: Pack, kv_cache: KVCache | None) -> Tensor:
        """What the last layer says, channels first as the inputs are; the published layout has them last."""
        inputs = pack.tokens
        if self.config.places != "none":
            positions = position_channel(pack, self.config.patch, time=self.config.places == "space-time")
            inputs = torch.cat((inputs, positions.to(inputs.dtype)), dim=1)
        emitted: Tensor = self.network(pack.at(inputs, pack.levels), kv_cache)
        return emitted.view(len(emitted), prod(self.config.patch), -1).transpose(1, 2).flatten(1)

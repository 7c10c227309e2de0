"""A network with the meaning of its numbers: packed noisy latents in, velocity out."""

from math import prod

import torch
from torch import Tensor, nn

from kinema_model.config import ModelConfig
from kinema_model.network.memory import Memory
from kinema_model.network.pack import Pack
from kinema_model.network.transformer import VideoTransformer, initialise
from kinema_model.places import place_channel

# Below this level a clean prediction is turned into a velocity as if the level were this one, so that the
# division by the level does not amplify what the network cannot know (as in JiT, arXiv:2511.13720).
LOWEST_DIVISOR = 0.05


class VideoModel(nn.Module):
    """What is trained and sampled from: velocity, the direction from clean to noise, of every token of a pack."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.network = VideoTransformer(config.network)
        initialise(self.network)

    def forward(self, pack: Pack, memory: Memory | None = None) -> Tensor:
        """(N, C pt ph pw) in the layout of `pack.tokens`. Raises `ShapeError`."""
        emitted = self._emit(pack, memory)
        if self.config.prediction == "velocity":
            return emitted
        return (pack.tokens - emitted) / pack.token_levels.clamp(min=LOWEST_DIVISOR)[:, None]

    def _emit(self, pack: Pack, memory: Memory | None) -> Tensor:
        """What the last layer says, channels first as the inputs are; the published layout has them last."""
        inputs = pack.tokens
        if self.config.places != "none":
            told = place_channel(pack, self.config.patch, time=self.config.places == "space-time")
            inputs = torch.cat((inputs, told.to(inputs.dtype)), dim=1)
        emitted: Tensor = self.network(pack.at(inputs, pack.levels), memory)
        return emitted.view(len(emitted), prod(self.config.patch), -1).transpose(1, 2).flatten(1)

"""Input channels with the absolute position of each token in its clip.

Rotary positions encode distances only, and on an empty background nothing else shows where a token is. The channels
hold one feature of the position per number of a patch. They are an input like any other, so the network stays the
published one.
"""

import torch
from torch import Tensor

from kinema_model.network.pack import Pack

_OCTAVES = 4


def position_channel(pack: Pack, count: int, *, time: bool) -> Tensor:
    """(N, count): sines and cosines of positions, each axis scaled to [-1, 1] over its clip, padded with zeros.

    `count` numbers are those that a patch has in all position channels. Without `time` they tell rows and columns only,
    for clips of open length.
    """
    octaves = torch.pi / 2 * 2.0 ** torch.arange(_OCTAVES, device=pack.places.device)
    angles = (pack.scaled_places[:, 0 if time else 1 :, None] * octaves).flatten(1)
    features = torch.cat((angles.sin(), angles.cos()), dim=-1)[:, :count]
    return torch.nn.functional.pad(features, (0, count - features.shape[1]))

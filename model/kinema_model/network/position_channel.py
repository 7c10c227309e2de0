"""The channel that tells each token where in its clip it lies.

Rotary positions alone tell distances only, and in a small world on an empty background nothing else betrays where
a token is. The channel holds one feature of the place per number of a patch: it is an input like any other, so the
network stays the published one.
"""

from math import prod

import torch
from torch import Tensor

from kinema_model.network.pack import Box, Pack

_OCTAVES = 4


def position_channel(pack: Pack, patch: Box, *, time: bool) -> Tensor:
    """(N, pt ph pw): sines and cosines of every token's place, each axis scaled to [-1, 1] over its clip, then zeros.

    Without `time` only rows and columns are told, for clips whose length is open.
    """
    octaves = torch.pi / 2 * 2.0 ** torch.arange(_OCTAVES, device=pack.places.device)
    angles = (pack.scaled_places[:, 0 if time else 1 :, None] * octaves).flatten(1)
    features = torch.cat((angles.sin(), angles.cos()), dim=-1)[:, : prod(patch)]
    return torch.nn.functional.pad(features, (0, prod(patch) - features.shape[1]))

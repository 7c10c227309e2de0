"""A small learned codec for pictures of the synthetic world: 8 x 8 pixels of a frame become 16 numbers.

A network that predicts pixels by patches decides about each patch on its own, which shows at their edges. Here the
encoder sees one patch, so that a latent depends on no pixel of another token and inputs of tasks stay what they are;
the decoder sees over the edges of patches. It was trained with noise on its latents (as the decoder of LTX-Video,
arXiv:2501.00103), so that it draws clean outlines of latents that a denoiser leaves a little wrong. Frames are coded
one by one: a chunk of a stream decodes as it does in a whole clip. `dev/codec` trains it.
"""

from collections.abc import Callable
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema_model.codec.grid import CODECS
from kinema_model.network.folder import check_weights, read_safetensors

WEIGHTS_FILE: Final = "world.safetensors"
_SIDE: Final = CODECS["world"].strides[1]
_CHANNELS: Final = CODECS["world"].channels
_HIDDEN: Final = 96
_WIDTHS: Final = (48, 24, 16, 12)
"""Channels of the decoder at 1, 2, 4 and 8 pixels a side of a patch."""


class WorldAutoencoder(nn.Module):
    """Encoder and decoder; latents have mean 0 and variance 1 over the clips that it was trained on."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder_in = nn.Linear(3 * _SIDE * _SIDE, _HIDDEN)
        self.encoder_out = nn.Linear(_HIDDEN, _CHANNELS)
        self.register_buffer("mean", torch.zeros(_CHANNELS))
        self.register_buffer("deviation", torch.ones(_CHANNELS))
        self.neighbours = nn.Conv2d(_CHANNELS, _WIDTHS[0], 3, padding=1)
        self.expand = nn.ModuleList(
            nn.Conv2d(wide, 4 * narrow, size, padding=size // 2)
            for wide, narrow, size in zip(_WIDTHS, _WIDTHS[1:], (1, 3, 3), strict=False)
        )
        self.pixels = nn.Conv2d(_WIDTHS[-1], 3, 3, padding=1)

    def features(self, frames: Tensor) -> Tensor:
        """Frames (F, 3, H, W) of whole patches -> what is told of each patch (F, C, H / 8, W / 8), not normed."""
        rows = F.pixel_unshuffle(frames, _SIDE).movedim(1, -1)
        told: Tensor = self.encoder_out(F.gelu(self.encoder_in(rows)))
        return told.movedim(-1, 1)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (F, 3, H, W) in [-1, 1] -> latents (F, C, H / 8, W / 8)."""
        return (self.features(frames) - self.mean[:, None, None]) / self.deviation[:, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (F, C, H', W') -> frames (F, 3, 8 H', 8 W'), near [-1, 1]."""
        x = F.gelu(self.neighbours(latents))
        for expand in self.expand:
            x = F.gelu(F.pixel_shuffle(expand(x), 2))
        drawn: Tensor = self.pixels(x)
        return drawn


class WorldCodec:
    """The autoencoder as a codec. Its weights are read at the first use, once in a process for each device."""

    def encode(self, video: Tensor) -> Tensor:
        """Video in [-1, 1] (B, 3, T, H, W) -> latents (B, 16, T, H / 8, W / 8). Raises `BrokenArtefact`."""
        return _by_frames(_weights(video.device).encode, video)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 16, T, H', W') -> video (B, 3, T, 8 H', 8 W') held within [-1, 1]. Raises `BrokenArtefact`."""
        return _by_frames(_weights(latents.device).decode, latents).clamp(-1, 1)


def _by_frames(code: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    b, c, t, h, w = clips.shape
    with torch.no_grad():
        made = code(clips.transpose(1, 2).reshape(b * t, c, h, w).float())
    return made.view(b, t, *made.shape[1:]).transpose(1, 2)


@lru_cache(maxsize=8)
def _weights(device: torch.device) -> WorldAutoencoder:
    with torch.device("meta"):
        made = WorldAutoencoder()
    with as_file(files(__package__) / WEIGHTS_FILE) as path:
        stored, _ = read_safetensors(path)
        check_weights(stored, made.state_dict(), path)
    made.load_state_dict({name: tensor.float() for name, tensor in stored.items()}, assign=True)
    return made.to(device).eval().requires_grad_(False)

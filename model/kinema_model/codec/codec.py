"""Codecs between pixels and latents. The network sees latents only, so a learned codec can replace `PixelCodec`."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema_model.config import ModelConfig

Video = npt.NDArray[np.uint8]
"""Pixels of a clip (T, H, W, 3), or of several of one shape (B, T, H, W, 3)."""


class Codec(Protocol):
    """The interface of a codec."""

    def encode(self, video: Tensor) -> Tensor:
        """Video in [-1, 1] (B, 3, T, H, W) -> latents (B, C, T', H', W')."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, T', H', W') -> video in [-1, 1] (B, 3, T, H, W)."""
        ...

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, T', H', W') of a clip of this many frames and pixels."""
        ...


class PixelCodec:
    """Pixels are the latents; decoding clamps, since a sampler may overshoot the range."""

    channels = 3

    def encode(self, video: Tensor) -> Tensor:
        """Video in [-1, 1] (B, 3, T, H, W), returned unchanged."""
        return video

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 3, T, H, W), clamped to [-1, 1]."""
        return latents.clamp(-1, 1)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(3, T, H, W) of a clip of this many frames and pixels."""
        return self.channels, frames, height, width


def make_codec(config: ModelConfig) -> Codec:
    """The codec that the config names."""
    codecs: dict[str, type[PixelCodec]] = {"pixel": PixelCodec}
    return codecs[config.codec]()


def to_float(video: Tensor) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float32 in [-1, 1] (B, 3, T, H, W)."""
    return (video.float() / 127.5 - 1).permute(0, 4, 1, 2, 3).contiguous()


def pixels(video: npt.NDArray[np.uint8]) -> Tensor:
    """One clip uint8 (T, H, W, 3) -> float32 in [-1, 1] (3, T, H, W)."""
    return to_float(torch.from_numpy(np.ascontiguousarray(video))[None])[0]


def to_uint8(video: Tensor) -> Tensor:
    """Float in [-1, 1] (B, 3, T, H, W) -> uint8 (B, T, H, W, 3)."""
    return ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous()

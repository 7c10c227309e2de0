"""Codecs between pixels and latents. The network sees latents only."""

from collections.abc import Callable
from math import prod
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema_model.codec.grid import CODECS, Box, CodecName
from kinema_model.codec.world import WorldCodec
from kinema_model.config import ModelConfig
from kinema_model.errors import ConfigError

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


class PixelCodec:
    """Pixels are the latents; decoding clamps, since a sampler may overshoot the range."""

    def encode(self, video: Tensor) -> Tensor:
        """Video in [-1, 1] (B, 3, T, H, W), returned unchanged."""
        return video

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 3, T, H, W), clamped to [-1, 1]."""
        return latents.clamp(-1, 1)


class UnshuffleCodec:
    """Pixels of a cell as channels of one latent: lossless, and with strides as a learned codec has them.

    It is the 3D form of pixel unshuffle (Shi et al. 2016, arXiv:1609.05158).
    """

    def __init__(self, strides: Box = CODECS["unshuffle"].strides) -> None:
        self._strides = strides

    def encode(self, video: Tensor) -> Tensor:
        """Video (B, 3, T, H, W) of whole cells -> latents (B, 3 st sh sw, T / st, H / sh, W / sw)."""
        b, c, t, h, w = video.shape
        st, sh, sw = self._strides
        cells = video.reshape(b, c, t // st, st, h // sh, sh, w // sw, sw)
        return cells.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * prod(self._strides), t // st, h // sh, w // sw)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 3 st sh sw, T', H', W') -> video (B, 3, T, H, W) held within [-1, 1]."""
        b, _, t, h, w = latents.shape
        st, sh, sw = self._strides
        cells = latents.reshape(b, -1, st, sh, sw, t, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return cells.reshape(b, -1, t * st, h * sh, w * sw).clamp(-1, 1)


def make_codec(config: ModelConfig) -> Codec:
    """The codec that the config names.

    Raises:
        ConfigError: the network is made for latents of another codec.
    """
    channels = CODECS[config.codec].channels
    if config.channels != channels:
        raise ConfigError(
            f"network.out_channels is {config.channels} and the codec {config.codec!r} has {channels} channels. "
            f"Set it to {channels}, or choose another codec."
        )
    codecs: dict[CodecName, Callable[[], Codec]] = {
        "pixel": PixelCodec,
        "unshuffle": UnshuffleCodec,
        "world": WorldCodec,
    }
    return codecs[config.codec]()


def blank_latents(config: ModelConfig, frames: int, height: int, width: int) -> Tensor:
    """Zeros (C, T', H', W') in the shape of the latents of a clip. Raises `ShapeError`."""
    return torch.zeros(config.channels, *config.grid.latent_box(frames, height, width))


def to_float(video: Tensor) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float32 in [-1, 1] (B, 3, T, H, W)."""
    return (video.float() / 127.5 - 1).permute(0, 4, 1, 2, 3).contiguous()


def pixels(video: npt.NDArray[np.uint8]) -> Tensor:
    """One clip uint8 (T, H, W, 3) -> float32 in [-1, 1] (3, T, H, W)."""
    return to_float(torch.from_numpy(np.ascontiguousarray(video))[None])[0]


def to_uint8(video: Tensor) -> Tensor:
    """Float in [-1, 1] (B, 3, T, H, W) -> uint8 (B, T, H, W, 3)."""
    return ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous()

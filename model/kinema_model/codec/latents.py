"""A clip as a part of a pack, with the times of its token rows."""

import torch
from torch import Tensor

from kinema_model.config import ModelConfig
from kinema_model.network.pack import Part


def token_times(config: ModelConfig, frames: int, fps: float, first: float = 0.0) -> Tensor:
    """(T',) positions of token rows on the rotary time axis; the first row begins at `first` seconds.

    The axis counts seconds, so that equal speeds look equal at every frame rate; its unit is 1 / `reference_fps` s.
    `frames` are latent frames at `fps` frames per second.
    """
    rows = torch.arange(frames // config.patch[0], dtype=torch.float32)
    return first * config.reference_fps + rows * (config.reference_fps / fps)


def whole_clip(config: ModelConfig, latents: Tensor, fps: float) -> Part:
    """Latents (C, T, H, W) of a clip as a part that begins at 0 s, all tokens at noise level 1."""
    pt, ph, pw = config.patch
    _, t, h, w = latents.shape
    levels = torch.ones(t // pt, h // ph, w // pw)
    return Part(latents, levels, token_times(config, t, fps))

"""A clip as a part of a pack, with the times of its token rows."""

import torch
from torch import Tensor

from kinema_model.config import ModelConfig
from kinema_model.network.pack import Part


def token_times(config: ModelConfig, rows: int, fps: float, first: int = 0) -> Tensor:
    """(rows,) positions of token rows on the rotary time axis, of a clip that begins at frame `first` of another.

    The axis counts seconds, so that equal speeds look equal at every frame rate; its unit is a row at `reference_fps`.
    """
    steps = torch.arange(rows, dtype=torch.float32)
    begin = config.grid.position(first, fps, config.reference_fps)
    return begin + steps * config.grid.pace(fps, config.reference_fps)


def whole_clip(config: ModelConfig, latents: Tensor, fps: float, first: int = 0) -> Part:
    """Latents (C, T, H, W) of a clip that begins at frame `first` of another, all tokens at noise level 1."""
    pt, ph, pw = config.patch
    _, t, h, w = latents.shape
    levels = torch.ones(t // pt, h // ph, w // pw)
    return Part(latents, levels, token_times(config, t // pt, fps, first))

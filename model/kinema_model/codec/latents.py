"""From a clip to the part of a pack that holds it: where its tokens lie in space and in time."""

import torch
from torch import Tensor

from kinema_model.config import ModelConfig
from kinema_model.network.pack import Part


def token_times(config: ModelConfig, frames: int, fps: float, first: float = 0.0) -> Tensor:
    """(T',) places of token rows on the rotary time axis; the row that begins `first` seconds in is the first.

    The axis counts seconds, so equal speed looks equal at every frame rate; its unit is a frame at `reference_fps`.
    """
    rows = torch.arange(frames // config.patch[0], dtype=torch.float32)
    return first * config.reference_fps + rows * (config.reference_fps / fps)


def whole_clip(config: ModelConfig, latents: Tensor, fps: float) -> Part:
    """Latents (C, T, H, W) of a clip that begins at 0 s, all of it at level 1."""
    pt, ph, pw = config.patch
    _, t, h, w = latents.shape
    levels = torch.ones(t // pt, h // ph, w // pw)
    return Part(latents, levels, token_times(config, t, fps))

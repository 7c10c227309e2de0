"""Small networks and random clips that the model's tests share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kinema_model.network.config import NetworkConfig
from kinema_model.network.pack import Box, Part, Sample


def small_network(patch: Box = (1, 4, 4), width: int = 24, text_dim: int = 16, **fields: int) -> NetworkConfig:
    """Two layers, wide enough to be wrong in."""
    shape = {"num_layers": 2, "in_channels": 4, "out_channels": 3, "ffn_dim": 2 * width, "freq_dim": 16, **fields}
    return NetworkConfig(
        patch_size=patch, num_attention_heads=2, attention_head_dim=width // 2, text_dim=text_dim, **shape
    )


def clip(size: Box, levels: Tensor | float = 0.5, patch: Box = (1, 4, 4), fps: float = 8.0, channels: int = 3) -> Part:
    """A random clip of this many frames, rows and columns, at one level or at one per token row."""
    t, h, w = (n // side for n, side in zip(size, patch, strict=True))
    per_row = torch.as_tensor(levels, dtype=torch.float32).expand(t)
    return Part(torch.randn(channels, *size), per_row[:, None, None].expand(t, h, w), torch.arange(t) * (8 / fps))


def mixed_samples(sizes: Sequence[Box], texts: Sequence[int], seed: int = 1, text_dim: int = 16) -> list[Sample]:
    """Clips of these sizes with texts of these lengths, each frame at a level of its own."""
    torch.manual_seed(seed)
    return [
        Sample((clip(size, torch.rand(size[0]).clamp(min=0.1)),), torch.randn(length, text_dim))
        for size, length in zip(sizes, texts, strict=True)
    ]

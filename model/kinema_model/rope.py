"""Rotary positions over time, rows and columns, so that attention sees how far apart two tokens are.

Each head's channels are cut in three parts, one per axis, and every part is rotated by its own coordinate
(Su et al. 2021, arXiv:2104.09864; the split over three axes is that of Wan 2.1).
"""

from functools import lru_cache

import torch
from torch import Tensor

Grid = tuple[int, int, int]


def axis_channels(head_dim: int) -> Grid:
    """Channels of a head for time, rows, columns; each even, what does not divide by three goes to time."""
    spatial = 2 * (head_dim // 6)
    return head_dim - 2 * spatial, spatial, spatial


def rope_angles(head_dim: int, grid: Grid, theta: float) -> Tensor:
    """Angles (T*H*W, head_dim/2) in radians: p theta^(-2i/c) at place p, pair i of an axis of c channels."""
    parts: list[Tensor] = []
    for axis, channels in enumerate(axis_channels(head_dim)):
        frequencies = theta ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        angles = torch.arange(grid[axis], dtype=torch.float64)[:, None] * frequencies
        shape = [1, 1, 1, channels // 2]
        shape[axis] = grid[axis]
        parts.append(angles.view(shape).expand(*grid, channels // 2))
    return torch.cat(parts, dim=-1).flatten(0, 2)


# Kept tables may be made while sampling and next be used in training.
@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)
def rope_table(head_dim: int, grid: Grid, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T*H*W, head_dim) in float32, each repeated for the two channels of its pair."""
    angles = rope_angles(head_dim, grid, theta).repeat_interleave(2, dim=-1)
    return angles.cos().float().to(device), angles.sin().float().to(device)


def apply_rope(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate neighbouring channel pairs of x (..., N, head_dim) by the table's angles (N, head_dim)."""
    cos, sin = table
    even, odd = x.view(*x.shape[:-1], -1, 2).unbind(-1)
    turned = torch.stack((-odd, even), dim=-1).flatten(-2)
    return (x * cos + turned * sin).to(x.dtype)

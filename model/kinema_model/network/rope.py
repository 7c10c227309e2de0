"""Rotary positions over time, rows and columns, so that attention depends on how far apart two tokens are.

The channels of a head are split into three parts, one per axis, and each part is rotated by its own coordinate
(Su et al. 2021, arXiv:2104.09864; the split over three axes is that of Wan 2.1). Coordinates are real numbers:
time can be counted in seconds.
"""

import torch
from torch import Tensor

THETA = 10_000.0
RopeTable = tuple[Tensor, Tensor]


def axis_channels(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head for time, rows and columns: three even numbers, with the remainder given to time."""
    spatial = 2 * (head_dim // 6)
    return head_dim - 2 * spatial, spatial, spatial


def rope_table(head_dim: int, places: Tensor) -> RopeTable:
    """Cosines and sines (N, 1, head_dim/2) float32 of p theta^(-2i/c), for positions (N, 3) and c channels an axis."""
    angles = []
    for axis, channels in enumerate(axis_channels(head_dim)):
        exponents = torch.arange(0, channels, 2, dtype=torch.float64, device=places.device) / channels
        angles.append(places[:, axis, None].double() * THETA**-exponents)
    turned = torch.cat(angles, dim=-1)[:, None]
    return turned.cos().float(), turned.sin().float()


def apply_rope(x: Tensor, table: RopeTable) -> Tensor:
    """x (N, H, head_dim), each pair of channels (2i, 2i + 1) rotated by the angles of the table; the same shape."""
    cos, sin = table
    pairs = x.float().view(*x.shape[:-1], -1, 2)
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        # One pass over memory instead of seven; a compiler fuses the plain form but cannot make complex kernels.
        turned = torch.view_as_complex(pairs) * torch.complex(cos, sin)
        return torch.view_as_real(turned).flatten(-2).to(x.dtype)
    even, odd = pairs.unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)

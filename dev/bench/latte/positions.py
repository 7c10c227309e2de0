"""How tokens and steps are told apart: by added sines and cosines as published, or in the ways of our network.

Our ways are written anew here, on batches and whole grids, so that the baseline does not change with the model.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from bench.latte.patches import Grid

RopeTable = tuple[Tensor, Tensor]
_LONGEST_PERIOD = 10_000.0
_OCTAVES = 4


def sines_and_cosines(width: int, places: Tensor) -> Tensor:
    """Places (N,) -> (N, width): sines, then cosines, of p 10000^(-2i/width) (Vaswani et al. 2017, 1706.03762)."""
    frequencies = _LONGEST_PERIOD ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = places.double()[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=-1).float()


def step_features(steps: Tensor, features: int) -> Tensor:
    """Diffusion steps (B,) -> (B, features): the same with cosines first, which is how a step is told."""
    sines, cosines = sines_and_cosines(features, steps).chunk(2, dim=-1)
    return torch.cat((cosines, sines), dim=-1)


def spatial_positions(width: int, rows: int, columns: int) -> Tensor:
    """(rows * columns, width): half the channels tell the column, half the row."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    halves = (sines_and_cosines(width // 2, place.flatten()) for place in (column, row))
    return torch.cat(tuple(halves), dim=-1)


def place_features(grid: Grid, numbers: int) -> Tensor:
    """(T', H' W', numbers): sines and cosines of places scaled to [-1, 1], cut or filled up with zeros."""
    axes = [(2 * torch.arange(n, dtype=torch.float32) + 1) / n - 1 for n in grid]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(1, 2)
    octaves = torch.pi / 2 * 2.0 ** torch.arange(_OCTAVES)
    angles = (places[..., None] * octaves).flatten(-2)
    features = torch.cat((angles.sin(), angles.cos()), dim=-1)[..., :numbers]
    return torch.nn.functional.pad(features, (0, numbers - features.shape[-1]))


# Kept tables may be made while sampling and next be used in training.
@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)
def rope_table(head_dim: int, grid: Grid) -> RopeTable:
    """Cosines and sines (N, head_dim/2) of rotary angles for the N tokens of a grid (Su et al. 2021, 2104.09864).

    Rows and columns have a third of a head's channels each, rounded down to pairs, and time has the others.
    """
    spatial = 2 * (head_dim // 6)
    places = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in grid))
    angles = []
    for axis, channels in enumerate((head_dim - 2 * spatial, spatial, spatial)):
        frequencies = _LONGEST_PERIOD ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        angles.append(places[:, axis, None] * frequencies)
    turned = torch.cat(angles, dim=-1)
    return turned.cos().float(), turned.sin().float()


def apply_rope(x: Tensor, table: RopeTable) -> Tensor:
    """Turn neighbouring channel pairs of x (..., N, head_dim) by the table's angles."""
    cos, sin = table
    even, odd = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)

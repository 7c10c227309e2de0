"""Batches of clips as patches and back, and prompts of unequal length as one batch: what packing does for ours."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

Grid = tuple[int, int, int]
"""Frames, rows and columns, of tokens or of one patch."""


def patchify(latents: Tensor, patch: Grid) -> Tensor:
    """(B, C, T, H, W) -> (B, T', H' W', C pt ph pw): one row per patch, its numbers ordered as in a pack."""
    b, c, t, h, w = latents.shape
    pt, ph, pw = patch
    cells = latents.reshape(b, c, t // pt, pt, h // ph, ph, w // pw, pw)
    rows = cells.permute(0, 2, 4, 6, 1, 3, 5, 7)
    return rows.reshape(b, t // pt, (h // ph) * (w // pw), c * prod(patch))


def unpatchify(rows: Tensor, grid: Grid, patch: Grid) -> Tensor:
    """Inverse of `patchify` for clips of grid (T', H', W')."""
    t, h, w = grid
    pt, ph, pw = patch
    cells = rows.reshape(len(rows), t, h, w, -1, pt, ph, pw).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return cells.reshape(len(rows), -1, t * pt, h * ph, w * pw)


def padded(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """States (L, D) of each prompt, L from 0 -> text (B, longest, D) and its mask (B, longest), at least one long."""
    lengths = torch.tensor([len(rows) for rows in states], device=states[0].device)
    filled = [rows if len(rows) else rows.new_zeros(1, rows.shape[1]) for rows in states]
    text = torch.nn.utils.rnn.pad_sequence(filled, batch_first=True)
    return text, torch.arange(text.shape[1], device=text.device) < lengths[:, None]

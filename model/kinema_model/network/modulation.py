"""Noise levels as modulation (adaLN, Peebles and Xie 2022): computed once per distinct level, never per token.

Plain autograd would keep shift, scale and gate of every token of every layer for the backward pass (1.1 GiB a layer at
32k tokens of width 1536). The functions here keep the index and look the rows up again.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

LEVEL_SCALE = 1000.0
"""A level in [0, 1] times this is a step of DDPM (arXiv:2006.11239), for which the sinusoids are spaced."""


def sinusoids(values: Tensor, features: int, longest_period: float = 10_000.0) -> Tensor:
    """Values (U,) -> cosines and sines (U, features) float32 at geometrically spaced frequencies."""
    half = features // 2
    steps = torch.arange(half, dtype=torch.float32, device=values.device)
    angles = values.float()[:, None] * torch.exp(-math.log(longest_period) * steps / half)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def summed_by_row(values: Tensor, index: Tensor, rows: int) -> Tensor:
    """Values (N, D) and index (N,) -> (rows, D): the sum of the values that share an index, in a fixed order."""
    if rows == 1:
        return values.sum(0, keepdim=True)
    if values.device.type != "cuda":
        return values.new_zeros(rows, values.shape[1]).index_add_(0, index, values)
    return multiplied_by_row(values, index, rows)


def multiplied_by_row(values: Tensor, index: Tensor, rows: int) -> Tensor:
    """`summed_by_row` as a product, (rows, N) x (N, D): `index_add_` on a GPU adds in any order, so runs differ."""
    chosen = (index == torch.arange(rows, device=index.device)[:, None]).to(values.dtype)
    with torch.autocast(values.device.type, enabled=False):
        return chosen @ values


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of the table (U, D) for each token (N, D); a single row is broadcast."""
    return table if len(table) == 1 else table.index_select(0, index)


class _AdaptiveNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, scale: Tensor, index: Tensor, eps: float) -> Tensor:
        normed, mean, rstd = torch.native_layer_norm(x.float(), x.shape[-1:], None, None, eps)
        ctx.save_for_backward(x, mean, rstd, scale, index)
        return torch.addcmul(_rows(shift, index), normed, _rows(1 + scale, index)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd, scale, index = ctx.saved_tensors
        gradient = gradients[0].float()
        inputs = x.float()
        d_shift = summed_by_row(gradient, index, len(scale))
        d_scale = summed_by_row((inputs - mean).mul_(rstd).mul_(gradient), index, len(scale))
        inner = gradient * _rows(1 + scale, index)
        # torch's own kernel goes over memory once where the formula written out goes ten times.
        d_x, _, _ = torch.ops.aten.native_layer_norm_backward(
            inner, inputs, x.shape[-1:], mean, rstd, None, None, [True, False, False]
        )
        return d_x.to(x.dtype), d_shift, d_scale, None, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, update: Tensor, gate: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(update, gate, index)
        return torch.addcmul(x.float(), _rows(gate, index), update.float()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        update, gate, index = ctx.saved_tensors
        gradient = gradients[0].float()
        d_gate = summed_by_row(gradient * update.float(), index, len(gate))
        return gradients[0], (gradient * _rows(gate, index)).to(update.dtype), d_gate, None


def adaptive_norm(x: Tensor, shift: Tensor, scale: Tensor, index: Tensor, eps: float) -> Tensor:
    """LN(x) (1 + scale[index]) + shift[index] in float32: x (N, D), shift and scale (U, D), index (N,)."""
    normed: Tensor = _AdaptiveNorm.apply(x, shift, scale, index, eps)
    return normed


def gated(x: Tensor, update: Tensor, gate: Tensor, index: Tensor) -> Tensor:
    """x + gate[index] * update in float32: x and update (N, D), gate (U, D), index (N,)."""
    added: Tensor = _Gated.apply(x, update, gate, index)
    return added


class TimestepEmbedding(nn.Module):
    """The embedding of a noise level, from its sinusoids through two linear layers."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(features, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """(U, features) -> (U, D)."""
        embedded: Tensor = self.linear_2(nn.functional.silu(self.linear_1(features)))
        return embedded

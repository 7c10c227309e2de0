"""Latte's text-to-video transformer at our size, as published, with switches that put our parts in its place.

Latte (Ma et al. 2024, arXiv:2401.03048), variant 1: blocks that attend within a frame alternate with blocks that
attend along time; positions are fixed sines and cosines; text comes by cross-attention in the spatial blocks only;
the last layer says the noise and a variance. Written from the paper and the behaviour of its published model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.latte.conditioning import Conditioning, feed_forward
from bench.latte.patches import Grid, patchify, unpatchify
from bench.latte.positions import (
    RopeTable,
    apply_rope,
    place_features,
    rope_table,
    sines_and_cosines,
    spatial_positions,
)
from kinema_model.errors import ConfigError

PUBLISHED_RATIO = 4
LARGEST_DIFFERENCE = 0.02
_NORM_EPS = 1e-6


class Part(StrEnum):
    """What ours has and Latte has not, in the order in which the benchmark adds it.

    The last one is all that tells a token where it is and what is asked of it: the channel of places, text in every
    block behind a norm, a learned null token, and modulation from zero.
    """

    FLOW = "flow"
    CLEAN = "clean-prediction"
    FULL_ATTENTION = "full-attention"
    ROPE = "rope"
    QK_NORM = "qk-norm"
    CONDITIONING = "conditioning"


class Span(StrEnum):
    """Which tokens of a clip a block lets see each other."""

    FRAME = "frame"
    TIME = "time"
    CLIP = "clip"


@dataclass(frozen=True)
class LatteConfig:
    """Sizes of a `Latte`. `grid` counts tokens over time, rows and columns; `pairs` of a spatial and a temporal block.

    `hidden` are the channels inside a feed-forward.
    """

    channels: int
    patch: Grid
    grid: Grid
    text_dim: int
    time_dim: int
    width: int
    heads: int
    pairs: int
    hidden: int
    parts: frozenset[Part] = frozenset()

    @property
    def out_channels(self) -> int:
        """Noise and variance as published; a flow has no variance to learn."""
        return self.channels if Part.FLOW in self.parts else 2 * self.channels


class SelfAttention(nn.Module):
    """Attention within groups of tokens."""

    def __init__(self, width: int, heads: int, normed: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.norm_q = nn.RMSNorm(width, eps=_NORM_EPS) if normed else nn.Identity()
        self.norm_k = nn.RMSNorm(width, eps=_NORM_EPS) if normed else nn.Identity()
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, rope: RopeTable | None) -> Tensor:
        """x (G, N, D) -> (G, N, D), every group for itself."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (_heads(part, self.heads) for part in (self.norm_q(q), self.norm_k(k), v))
        if rope is not None:
            q, k = apply_rope(q, rope), apply_rope(k, rope)
        mixed: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class CrossAttention(nn.Module):
    """Attention to the prompt; `normed` normalises queries and keys."""

    def __init__(self, width: int, heads: int, normed: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.norm_q = nn.RMSNorm(width, eps=_NORM_EPS) if normed else nn.Identity()
        self.norm_k = nn.RMSNorm(width, eps=_NORM_EPS) if normed else nn.Identity()
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, D), text (B, L, D), mask (B, L) -> (B, N, D)."""
        k, v = self.kv(text).chunk(2, dim=-1)
        q, k, v = (_heads(part, self.heads) for part in (self.norm_q(self.q(x)), self.norm_k(k), v))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        mixed: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return mixed


def _heads(x: Tensor, heads: int) -> Tensor:
    """(G, N, D) -> (G, heads, N, D / heads)."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights and an affine map per clip: x (B, T, S, D), shift and scale (B, 1, 1, D)."""
    return F.layer_norm(x, x.shape[-1:], eps=_NORM_EPS) * (1 + scale) + shift


class Block(nn.Module):
    """Self-attention over `span`, cross-attention where the block `reads` text, and a feed-forward."""

    def __init__(self, config: LatteConfig, span: Span, reads: bool) -> None:
        super().__init__()
        d, ours = config.width, Part.CONDITIONING in config.parts
        normed = Part.QK_NORM in config.parts
        self.span = span
        self.table = nn.Parameter(torch.zeros(6, d) if ours else torch.randn(6, d) / d**0.5)
        self.attention = SelfAttention(d, config.heads, normed)
        self.text_attention = CrossAttention(d, config.heads, normed) if reads else None
        # As published, queries to the text are not normed.
        self.text_norm = nn.LayerNorm(d, eps=_NORM_EPS) if reads and ours else nn.Identity()
        self.mlp = feed_forward(d, config.hidden, d)

    def forward(self, x: Tensor, modulation: Tensor, rope: RopeTable | None, text: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, S, D), modulation (B, 6, D), text (B, L, D), mask (B, L) -> (B, T, S, D)."""
        mine = (modulation + self.table)[:, :, None, None]
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = mine.unbind(1)
        x = x + gate_a * self.mix(modulate(x, shift_a, scale_a), rope)
        if self.text_attention is not None:
            x = x + self.text_attention(self.text_norm(x).flatten(1, 2), text, mask).view_as(x)
        mixed: Tensor = x + gate_m * self.mlp(modulate(x, shift_m, scale_m))
        return mixed

    def mix(self, x: Tensor, rope: RopeTable | None) -> Tensor:
        """Self-attention of x (B, T, S, D) within frames, along time at each place, or over the whole clip."""
        b, t, s, d = x.shape
        attend: Callable[[Tensor, RopeTable | None], Tensor] = self.attention
        if self.span is Span.FRAME:
            return attend(x.flatten(0, 1), rope).view(b, t, s, d)
        if self.span is Span.TIME:
            return attend(x.transpose(1, 2).flatten(0, 1), rope).view(b, s, t, d).transpose(1, 2)
        return attend(x.flatten(1, 2), rope).view(b, t, s, d)


class Latte(nn.Module):
    """Noisy latents, diffusion steps and text -> noise and variance, or with `Part.FLOW` what a flow needs."""

    space: Tensor
    time: Tensor
    places: Tensor

    def __init__(self, config: LatteConfig) -> None:
        super().__init__()
        self.config = config
        d, pixels = config.width, math.prod(config.patch)
        frames, rows, columns = config.grid
        ours = Part.CONDITIONING in config.parts
        self.rotary = Part.ROPE in config.parts
        self.embed = nn.Linear(pixels * (config.channels + ours), d)
        self.register_buffer("space", spatial_positions(d, rows, columns), persistent=False)
        self.register_buffer("time", sines_and_cosines(d, torch.arange(frames))[:, None], persistent=False)
        self.register_buffer("places", place_features(config.grid, pixels * ours), persistent=False)
        self.conditioning = Conditioning(config.time_dim, config.text_dim, d, ours=ours)
        whole = Part.FULL_ATTENTION in config.parts
        pair = ((Span.CLIP if whole else Span.FRAME, True), (Span.CLIP if whole else Span.TIME, ours))
        self.blocks = nn.ModuleList(Block(config, span, reads) for _ in range(config.pairs) for span, reads in pair)
        self.head = nn.Linear(d, pixels * config.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.conditioning.initialise()
        for block in self.blocks:
            assert isinstance(block, Block)
            if block.text_attention is not None:
                nn.init.zeros_(block.text_attention.out.weight)
        nn.init.zeros_(self.head.weight)

    def forward(self, latents: Tensor, times: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """latents (B, C, T, H, W), times (B,) of 0 to 1000 -> (B, C or 2 C, T, H, W).

        text (B, L, text_dim) are token states and mask (B, L) is True where a token counts.
        """
        patches = patchify(latents, self.config.patch)
        x = self.embed(torch.cat((patches, self.places.expand(len(patches), -1, -1, -1)), dim=-1))
        if not self.rotary:
            x = x + self.space
        condition = self.conditioning(times, text, mask)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            # Published: time is told once, between the first spatial block and the first temporal one.
            if i == 1 and not self.rotary:
                x = x + self.time
            x = block(x, condition.modulation, self._rope(block.span), condition.states, condition.mask)
        shift, scale = condition.head[:, :, None, None].unbind(1)
        return unpatchify(self.head(modulate(x, shift, scale)), self.config.grid, self.config.patch)

    def _rope(self, span: Span) -> RopeTable | None:
        if not self.rotary:
            return None
        t, h, w = self.config.grid
        grid = {Span.FRAME: (1, h, w), Span.TIME: (t, 1, 1), Span.CLIP: (t, h, w)}[span]
        return rope_table(self.config.width // self.config.heads, grid)


def parameter_count(model: nn.Module) -> int:
    """Trained numbers of a model; fixed positions are none."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def fitted(config: LatteConfig, target: int) -> LatteConfig:
    """The config at the width, and then the feed-forward, that bring its parameters nearest to `target`.

    Raises `ConfigError` where they stay more than 2 % away.
    """
    # Sines and cosines of two axes need multiples of 4, rotary positions an even head.
    unit = math.lcm(4, 2 * config.heads)
    wide = [
        replace(config, width=w, hidden=PUBLISHED_RATIO * w) for w in range(2 * unit, 2 * config.width + unit, unit)
    ]
    nearest = min(wide, key=lambda c: abs(_count(c) - target))
    one_more = _count(replace(nearest, hidden=nearest.hidden + 1)) - _count(nearest)
    missing = round((target - _count(nearest)) / one_more)
    found = replace(nearest, hidden=max(1, nearest.hidden + missing))
    if abs(_count(found) - target) > LARGEST_DIFFERENCE * target:
        raise ConfigError(
            f"No width brings the baseline to {target} parameters; the nearest has {_count(found)}. Change `heads`."
        )
    return found


def _count(config: LatteConfig) -> int:
    # What is drawn for a network that is only counted must not shift what is drawn for the next.
    with torch.random.fork_rng():
        return parameter_count(Latte(config))

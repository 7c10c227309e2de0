"""The parts of a transformer block, each small enough to be read beside its formula in docs/model.md."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema_model.rope import apply_rope

RopeTable = tuple[Tensor, Tensor]


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned gain (Zhang and Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class SelfAttention(nn.Module):
    """Attention among a clip's tokens, with normalised queries and keys and rotary positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.norm_q = RMSNorm(width // heads)
        self.norm_k = RMSNorm(width // heads)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, rope: RopeTable) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q = apply_rope(self.norm_q(q), rope)
        k = apply_rope(self.norm_k(k), rope)
        mixed = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


class CrossAttention(nn.Module):
    """Attention from a clip's tokens to the token states of its prompt."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.norm_q = RMSNorm(width // heads)
        self.norm_k = RMSNorm(width // heads)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, D), text (B, L, D), mask (B, L) with at least one True per row -> (B, N, D)."""
        q = self.norm_q(self.q(x).unflatten(-1, (self.heads, -1))).transpose(1, 2)
        k, v = self.kv(text).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, self.norm_k(k), v, attn_mask=mask[:, None, None, :])
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


def feed_forward(width: int, ratio: float) -> nn.Sequential:
    hidden = int(width * ratio)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


def sinusoidal_features(values: Tensor, dim: int, longest_period: float = 10_000.0) -> Tensor:
    """Values (U,) -> cosines and sines (U, dim) at geometrically spaced frequencies."""
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=values.device)
    angles = values.float()[:, None] * torch.exp(-math.log(longest_period) * steps / half)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class LevelEmbedding(nn.Module):
    """A noise level in [0, 1] -> a vector, through sinusoids and a small network."""

    # Sinusoids are spaced for step counts of about a thousand, as in DDPM.
    SCALE = 1000.0

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, levels: Tensor) -> Tensor:
        """levels (U,) -> (U, D)."""
        embedded: Tensor = self.mlp(sinusoidal_features(levels * self.SCALE, self.features))
        return embedded


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then an affine map: x (B, T, S, D), shift and scale (B, T, 1, D)."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, the first and last modulated by the noise level.

    Modulation is a shared projection of the level plus this block's own table (AdaLN-single of PixArt-alpha,
    arXiv:2310.00426, as Wan 2.1 uses it): shift, scale and gate for attention, then for the feed-forward.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(6, width))
        self.attention = SelfAttention(width, heads)
        self.text_norm = nn.LayerNorm(width)
        self.text_attention = CrossAttention(width, heads)
        self.mlp = feed_forward(width, mlp_ratio)

    def forward(
        self, x: Tensor, modulation: Tensor, index: Tensor, rope: RopeTable, text: Tensor, mask: Tensor
    ) -> Tensor:
        """x (B, T, S, D); modulation (U, 6, D) per distinct level, index (B, T) into it; text (B, L, D)."""
        b, t, s, d = x.shape
        mine = (modulation + self.table)[index].unsqueeze(3)  # (B, T, 6, 1, D): per frame, never per token
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = mine.unbind(2)
        attended = self.attention(modulate(x, shift_a, scale_a).view(b, t * s, d), rope)
        x = torch.addcmul(x, gate_a, attended.view(b, t, s, d))
        x = x + self.text_attention(self.text_norm(x).view(b, t * s, d), text, mask).view(b, t, s, d)
        return torch.addcmul(x, gate_m, self.mlp(modulate(x, shift_m, scale_m)))

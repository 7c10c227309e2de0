"""The parts of a transformer block; docs/model.md has their formulas.

Module names are those of the diffusers format, so that state dicts are interchangeable.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema_model.network.attention import AttentionPattern, Segments, attend, attention
from kinema_model.network.config import NetworkConfig
from kinema_model.network.kv_cache import LayerKVCache
from kinema_model.network.modulation import adaptive_norm, gated
from kinema_model.network.rope import RopeTable, apply_rope


class FP32LayerNorm(nn.LayerNorm):
    """Layer norm computed in float32 whatever the dtype around it."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class FeedForward(nn.Module):
    """Linear, GELU, Linear; `net[1]` is an identity in the place of dropout, which keeps the published indices."""

    def __init__(self, width: int, hidden: int, out: int, approximate: str) -> None:
        super().__init__()
        self.net = nn.ModuleList([_Projection(width, hidden), nn.Identity(), nn.Linear(hidden, out)])
        self._approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) -> (N, out)."""
        projected: Tensor = self.net[2](F.gelu(self.net[0](x), approximate=self._approximate))
        return projected


class _Projection(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.proj(x)
        return projected


@dataclass(frozen=True)
class Context:
    """What all blocks of one pass share.

    `rope` and `key_rope` are the tables of `rope.rope_table` for N tokens and K keys, `level_index` (N,) points into
    the U distinct levels, `text` (M, D) and `image` (I, D) are states at the width of the network. `runs` are the
    segments of tokens that share a text, `clips` those that share an image.
    """

    pattern: AttentionPattern
    rope: RopeTable
    key_rope: RopeTable
    level_index: Tensor
    runs: Segments
    text: Tensor
    texts: Segments
    clips: Segments
    image: Tensor | None = None
    images: Segments | None = None
    kv_cache: LayerKVCache | None = None


class Attention(nn.Module):
    """Queries, keys and values; queries and keys pass an RMS norm over all heads (arXiv:1910.07467)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d = config.width
        self.heads = config.num_attention_heads
        self.to_q, self.to_k, self.to_v = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.to_out = nn.ModuleList([nn.Linear(d, d)])
        self.norm_q = nn.RMSNorm(d, eps=config.eps)
        self.norm_k = nn.RMSNorm(d, eps=config.eps)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1)

    def _normed(self, x: Tensor, norm: nn.RMSNorm) -> Tensor:
        """(N, D) -> (N, H, d) in float32, so that rounding happens once, afterwards."""
        return self._heads(F.rms_norm(x.float(), norm.normalized_shape, norm.weight.float(), norm.eps))

    def _out(self, mixed: Tensor) -> Tensor:
        projected: Tensor = self.to_out[0](mixed.flatten(1))
        return projected


class SelfAttention(Attention):
    """Attention among the tokens of a pattern and to cached ones, with rotary positions (Su et al. 2021)."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x (N, D) -> (N, D)."""
        v = self._heads(self.to_v(x))
        q = apply_rope(self._normed(self.to_q(x), self.norm_q), context.rope).to(v.dtype)
        k = self._normed(self.to_k(x), self.norm_k)
        if context.kv_cache is not None:
            k, v = context.kv_cache.join(k, v)
        if (taken := context.pattern.taken) is not None:
            k, v = k.index_select(0, taken), v.index_select(0, taken)
        k = apply_rope(k, context.key_rope).to(v.dtype)
        return self._out(attend(q, k, v, context.pattern))


class CrossAttention(Attention):
    """Attention from the tokens of a clip to the states of its prompt and, in image-to-video weights, of its image."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.has_image = config.added_kv_proj_dim is not None
        if config.added_kv_proj_dim is not None:
            self.add_k_proj = nn.Linear(config.added_kv_proj_dim, config.width)
            self.add_v_proj = nn.Linear(config.added_kv_proj_dim, config.width)
            self.norm_added_k = nn.RMSNorm(config.width, eps=config.eps)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x (N, D) -> (N, D)."""
        q = self._normed(self.to_q(x), self.norm_q).to(x.dtype)
        k = self._normed(self.to_k(context.text), self.norm_k).to(x.dtype)
        mixed = attention(q, k, self._heads(self.to_v(context.text)), context.runs, context.texts)
        if self.has_image and context.image is not None and context.images is not None:
            k = self._normed(self.add_k_proj(context.image), self.norm_added_k).to(x.dtype)
            mixed = mixed + attention(q, k, self._heads(self.add_v_proj(context.image)), context.clips, context.images)
        return self._out(mixed)


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, the first and last modulated by the noise level.

    Modulation is a shared projection of the level plus this block's own table (AdaLN-single of PixArt-alpha,
    arXiv:2310.00426, as Wan 2.1 uses it): shift, scale and gate for attention, then for the feed-forward.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d = config.width
        self.eps = config.eps
        self.attn1 = SelfAttention(config)
        self.attn2 = CrossAttention(config)
        self.norm2 = FP32LayerNorm(d, eps=config.eps)
        self.ffn = FeedForward(d, config.ffn_dim, d, "tanh")
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 6, d))

    def forward(self, x: Tensor, modulation: Tensor, context: Context) -> Tensor:
        """x (N, D) and modulation (U, 6, D) float32 of the U distinct levels -> (N, D)."""
        index = context.level_index
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (self.scale_shift_table.float() + modulation).unbind(1)
        x = gated(x, self.attn1(adaptive_norm(x, shift_a, scale_a, index, self.eps), context), gate_a, index)
        x = x + self.attn2(self.norm2(x), context)
        return gated(x, self.ffn(adaptive_norm(x, shift_m, scale_m, index, self.eps)), gate_m, index)

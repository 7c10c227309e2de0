"""The network: a diffusion transformer over packed spacetime patches, conditioned on a noise level per token.

Sources: DiT (Peebles and Xie 2023, arXiv:2212.09748) for patches and zero initialisation, Wan 2.1
(arXiv:2503.20314) for the block, Diffusion Forcing (Chen et al. 2024, arXiv:2407.01392) for levels that differ
within a clip, NaViT (Dehghani et al. 2023, arXiv:2307.06304) for packing.
"""

from dataclasses import replace
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema_model.errors import ShapeError
from kinema_model.network.blocks import Block, Context, FeedForward, FP32LayerNorm
from kinema_model.network.config import NetworkConfig
from kinema_model.network.kv_cache import KVCache
from kinema_model.network.modulation import LEVEL_SCALE, TimestepEmbedding, adaptive_norm, sinusoids
from kinema_model.network.pack import Pack
from kinema_model.network.recompute import Recompute, run_block
from kinema_model.network.rope import rope_table
from kinema_model.precision import products_in


class TextEmbedding(nn.Module):
    """Token states of a prompt -> width D."""

    def __init__(self, text_dim: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(text_dim, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        """(M, text_dim) -> (M, D)."""
        embedded: Tensor = self.linear_2(F.gelu(self.linear_1(states), approximate="tanh"))
        return embedded


class ImageEmbedding(nn.Module):
    """States of an image -> width D, for image-to-video weights."""

    def __init__(self, image_dim: int, width: int) -> None:
        super().__init__()
        self.norm1 = FP32LayerNorm(image_dim)
        self.ff = FeedForward(image_dim, image_dim, width, "none")
        self.norm2 = FP32LayerNorm(width)

    def forward(self, states: Tensor) -> Tensor:
        """(I, image_dim) -> (I, D)."""
        embedded: Tensor = self.norm2(self.ff(self.norm1(states)))
        return embedded


class ConditionEmbedder(nn.Module):
    """Levels, text and image states at the width of the network."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d = config.width
        self.freq_dim = config.freq_dim
        self.time_embedder = TimestepEmbedding(config.freq_dim, d)
        self.time_proj = nn.Linear(d, 6 * d)
        self.text_embedder = TextEmbedding(config.text_dim, d)
        self.image_embedder = ImageEmbedding(config.image_dim, d) if config.image_dim is not None else None

    def levels(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Levels (U,) -> their embedding (U, D) and the modulation (U, 6, D) that all blocks share, in float32."""
        # A few rows only, and every rounding here would reach every token of every block.
        with products_in(torch.float32, levels.device.type):
            features = sinusoids(levels * LEVEL_SCALE, self.freq_dim)
            embedded = self.time_embedder(features.to(self.time_embedder.linear_1.weight.dtype)).float()
            modulation = F.linear(F.silu(embedded), self.time_proj.weight.float(), self.time_proj.bias.float())
        return embedded, modulation.view(len(levels), 6, -1)


class VideoTransformer(nn.Module):
    """Packed noisy latents, levels and text -> the output of the last layer for every token.

    Parameter names are those of `WanTransformer3DModel`, so weights are interchangeable. The only other parameter is
    `null_text` (text_dim,), which stands for no text, in models that have learnt it.
    """

    def __init__(self, config: NetworkConfig, *, null_text: bool = True) -> None:
        super().__init__()
        self.config = config
        self.recompute: Recompute = "none"
        self.recomputed_blocks: int | None = None
        """So many first blocks; None: all."""
        d = config.width
        self.patch_embedding = nn.Conv3d(config.in_channels, d, config.patch_size, stride=config.patch_size)
        self.condition_embedder = ConditionEmbedder(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.proj_out = nn.Linear(d, config.out_channels * prod(config.patch_size))
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 2, d))
        self.null_text = nn.Parameter(torch.zeros(config.text_dim)) if null_text else None

    def forward(self, pack: Pack, kv_cache: KVCache | None = None) -> Tensor:
        """(N, pt ph pw C_out) in the order of the pack's tokens. Raises `ShapeError` for a pack that does not fit.

        `kv_cache` prepends keys and values of earlier tokens to the pack's own, for patterns that use them, and keeps
        those of this pass.
        """
        self._check(pack)
        x = F.linear(pack.tokens, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)
        embedded, modulation = self.condition_embedder.levels(pack.levels)
        context = self._context(pack)
        for number, block in enumerate(self.blocks):
            layer = context if kv_cache is None else replace(context, kv_cache=kv_cache.layers[number])
            mode = self.recompute if self.recomputed_blocks is None or number < self.recomputed_blocks else "none"
            x = run_block(block, mode, x, modulation, layer)
        shift, scale = (self.scale_shift_table.float() + embedded[:, None]).unbind(1)
        normed = adaptive_norm(x, shift, scale, pack.level_index, self.config.eps)
        # What leaves the network are pixels or latents, which half precision would round to steps that can be seen.
        with products_in(torch.float32, x.device.type):
            return F.linear(normed.float(), self.proj_out.weight.float(), self.proj_out.bias.float())

    def _context(self, pack: Pack) -> Context:
        embedder = self.condition_embedder
        states, places = pack.text, pack.pattern.places
        if self.null_text is not None:
            states = torch.where(pack.textless[:, None], self.null_text.to(states.dtype), states)
        image = None
        if embedder.image_embedder is not None and pack.image is not None:
            image = embedder.image_embedder(pack.image)
        rope = rope_table(self.config.attention_head_dim, pack.places)
        return Context(
            pattern=pack.pattern,
            rope=rope,
            key_rope=rope if places is None else rope_table(self.config.attention_head_dim, places),
            level_index=pack.level_index,
            runs=pack.runs,
            text=embedder.text_embedder(states),
            texts=pack.texts,
            clips=pack.clips,
            image=image,
            images=pack.images,
        )

    def _check(self, pack: Pack) -> None:
        config = self.config
        expected = config.in_channels * prod(config.patch_size)
        if pack.tokens.shape[1] != expected:
            raise ShapeError(
                f"Patches of {pack.tokens.shape[1]} numbers do not fit. Give {config.in_channels} channels in patches "
                f"of {config.patch_size}, {expected} numbers."
            )
        if pack.text.shape[1] != config.text_dim:
            raise ShapeError(f"Text states {pack.text.shape[1]} wide do not fit. Give states {config.text_dim} wide.")
        if self.null_text is None and bool(pack.textless.any()):
            raise ShapeError("These weights have learnt no token for a missing text. Encode an empty prompt instead.")
        if (pack.image is None) != (config.image_dim is None):
            needs = "need" if config.image_dim is not None else "do not take"
            raise ShapeError(f"These weights {needs} the states of an image. Change the request's image.")
        if pack.image is not None and pack.image.shape[1] != config.image_dim:
            raise ShapeError(f"Image states {pack.image.shape[1]} wide do not fit. Give {config.image_dim}.")


def initialise(network: VideoTransformer) -> None:
    """Set the initial weights: every block starts as the identity and the output as zero (DiT, section 3.2)."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(network.patch_embedding.weight.data.flatten(1))
    assert network.patch_embedding.bias is not None
    nn.init.zeros_(network.patch_embedding.bias)
    silent = [network.condition_embedder.time_proj.weight, network.proj_out.weight]
    silent += [w for name, w in network.named_parameters() if name.endswith("attn2.to_out.0.weight")]
    for weight in silent:
        nn.init.zeros_(weight)
    if network.null_text is not None:
        nn.init.normal_(network.null_text, std=0.02)

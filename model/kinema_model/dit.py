"""The network: a diffusion transformer over spacetime patches that is told a noise level per latent frame.

Sources: DiT (Peebles and Xie 2023, arXiv:2212.09748) for patches and zero initialisation, Wan 2.1
(arXiv:2503.20314) for the block, Diffusion Forcing (Chen et al. 2024, arXiv:2407.01392) for levels per frame.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

from kinema_model.config import ModelConfig
from kinema_model.errors import ShapeError
from kinema_model.layers import Block, LevelEmbedding, feed_forward, modulate
from kinema_model.rope import Grid, rope_table

# Below this level a clean prediction is turned into a velocity as if the level were this one, so that the
# division by the level does not amplify what the network cannot know (as in JiT, arXiv:2511.13720).
LOWEST_DIVISOR = 0.05
_COORDINATE_OCTAVES = 4


def patchify(x: Tensor, patch: Grid) -> Tensor:
    """(B, C, T, H, W) -> (B, T/pt, H/ph * W/pw, pt*ph*pw*C): one row per spacetime patch."""
    b, c, t, h, w = x.shape
    pt, ph, pw = patch
    cells = x.view(b, c, t // pt, pt, h // ph, ph, w // pw, pw)
    return cells.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(b, t // pt, (h // ph) * (w // pw), pt * ph * pw * c)


def unpatchify(tokens: Tensor, patch: Grid, shape: torch.Size) -> Tensor:
    """Inverse of `patchify`; `shape` is that of the latents."""
    b, c, t, h, w = shape
    pt, ph, pw = patch
    cells = tokens.view(b, t // pt, h // ph, w // pw, pt, ph, pw, c)
    return cells.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(shape)


# Kept tables may be made while sampling and next be used in training.
@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)
def coordinate_features(grid: Grid, device: torch.device) -> Tensor:
    """(T, H*W, F): sines and cosines of each token's place, every axis scaled to [-1, 1]."""
    axes = [(2 * torch.arange(n, dtype=torch.float32) + 1) / n - 1 for n in grid]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    octaves = torch.pi / 2 * 2.0 ** torch.arange(_COORDINATE_OCTAVES)
    angles = (places[..., None] * octaves).flatten(-2)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).flatten(1, 2).to(device)


def distinct_levels(levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels (B, T) -> distinct (clip, level) pairs as levels (U,) and clips (U,), and an index (B, T)."""
    clips = torch.arange(levels.shape[0], device=levels.device)[:, None]
    # Levels end at 1, so clip * 2 + level is one number per pair, exact in float64.
    keys, index = torch.unique(clips * 2 + levels.double(), return_inverse=True)
    owners = torch.div(keys, 2, rounding_mode="floor")
    return (keys - 2 * owners).to(levels.dtype), owners.long(), index


class VideoDiT(nn.Module):
    """Noisy latents, levels and text -> velocity, the direction from clean to noise."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        d = config.width
        pixels = config.channels * config.patch[0] * config.patch[1] * config.patch[2]
        self.embed = nn.Linear(pixels, d)
        self.place = nn.Linear(3 * 2 * _COORDINATE_OCTAVES, d, bias=False) if config.coordinates else None
        self.level = LevelEmbedding(config.time_dim, d)
        self.text = nn.Sequential(nn.LayerNorm(config.text_dim), nn.Linear(config.text_dim, d))
        self.text_mlp = feed_forward(d, 1.0)
        self.null_text = nn.Parameter(torch.randn(d) * 0.02)
        self.pooled = nn.Linear(d, d) if config.text_modulation else None
        self.modulation = nn.Linear(d, 6 * d)
        self.blocks = nn.ModuleList(Block(d, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.head_table = nn.Linear(d, 2 * d)
        self.head = nn.Linear(d, pixels)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Every block starts as the identity and the output as zero (DiT, section 3.2).
        for layer in (self.modulation, self.head_table, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.text_attention.out.weight)

    def forward(self, latents: Tensor, levels: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """Velocity (B, C, T, H, W) of latents (B, C, T, H, W) at levels (B, T) in [0, 1].

        text (B, L, text_dim) are token states and text_mask (B, L) is True where a token counts; a row
        without any True means no text and uses the learned null token. Latent frames of one patch share the
        highest of their levels. Raises `ShapeError`.
        """
        self._check(latents, levels, text, text_mask)
        emitted = self.emit(latents, levels, text, text_mask)
        if self.config.prediction == "velocity":
            return emitted
        divisor = self._shared(levels).repeat_interleave(self.config.patch[0], 1).clamp(min=LOWEST_DIVISOR)
        return (latents - emitted) / divisor[:, None, :, None, None]

    def emit(self, latents: Tensor, levels: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """What the last layer says (B, C, T, H, W): a velocity or a clean clip, see `config.prediction`."""
        patch = self.config.patch
        x = self.embed(patchify(latents, patch))
        grid = (x.shape[1], latents.shape[3] // patch[1], latents.shape[4] // patch[2])
        if self.place is not None:
            x = x + self.place(coordinate_features(grid, x.device).to(x.dtype))
        states, mask = self._read(text, text_mask)
        values, owners, index = distinct_levels(self._shared(levels))
        condition = self.level(values)
        if self.pooled is not None:
            weights = mask.to(states.dtype)[..., None]
            mean = (states * weights).sum(1) / weights.sum(1)
            condition = condition + self.pooled(mean)[owners]
        condition = nn.functional.silu(condition)
        modulation = self.modulation(condition).unflatten(-1, (6, -1))
        rope = rope_table(self.config.head_dim, grid, self.config.rope_theta, x.device)
        for block in self.blocks:
            x = block(x, modulation, index, rope, states, mask)
        shift, scale = self.head_table(condition)[index].unsqueeze(2).chunk(2, dim=-1)
        return unpatchify(self.head(modulate(x, shift, scale)), patch, latents.shape)

    def _read(self, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Token states at width D (B, L, D), and the mask; the null token stands where there is no text."""
        states = self.text(text)
        states = states + self.text_mlp(states)
        absent = ~mask.any(dim=1)
        first = torch.zeros_like(mask)
        first[:, 0] = absent
        return torch.where(first[..., None], self.null_text.to(states.dtype), states), mask | first

    def _shared(self, levels: Tensor) -> Tensor:
        """Levels per latent frame (B, T) -> per row of patches (B, T/pt)."""
        pt = self.config.patch[0]
        return levels if pt == 1 else levels.view(len(levels), -1, pt).amax(-1)

    def _check(self, latents: Tensor, levels: Tensor, text: Tensor, mask: Tensor) -> None:
        if latents.ndim != 5 or latents.shape[1] != self.config.channels:
            raise ShapeError(f"Latents {tuple(latents.shape)} do not fit; give (B, {self.config.channels}, T, H, W).")
        b, _, t, h, w = latents.shape
        if any(size % side for size, side in zip((t, h, w), self.config.patch, strict=True)):
            raise ShapeError(f"A clip of {t} x {h} x {w} is not whole patches; use multiples of {self.config.patch}.")
        if levels.shape != (b, t):
            raise ShapeError(f"Levels of shape {tuple(levels.shape)} do not fit; give one per frame, ({b}, {t}).")
        if text.ndim != 3 or text.shape[0] != b or text.shape[2] != self.config.text_dim or text.shape[1] == 0:
            raise ShapeError(f"Text {tuple(text.shape)} does not fit; give ({b}, L, {self.config.text_dim}), L >= 1.")
        if mask.shape != text.shape[:2]:
            raise ShapeError(f"The text mask has shape {tuple(mask.shape)}; give {tuple(text.shape[:2])}.")

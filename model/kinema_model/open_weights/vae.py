"""Between pixels and Wan's latents, in pieces that fit into memory.

The VAE is causal in time and keeps what it needs of the past, so that decoding in chunks of time is exact. Tiles of
rows and columns are not: the difference of neighbours where they overlap is measured and reported.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor

from kinema_model.errors import ShapeError
from kinema_model.open_weights.configs import TEMPORAL_STRIDE, VaeConfig

OVERLAP: Final = 0.25
"""Share of a tile's side that it shares with its neighbour."""


@dataclass(frozen=True)
class Tiled:
    """A clip in [-1, 1] (3, T, H, W) on the CPU, and its seam.

    `seam` is the root mean square of how far overlapping tiles lie from what is shown, in units of [-1, 1].
    """

    video: Tensor
    seam: float


class Vae:
    """A VAE with weights, on whatever device they are."""

    def __init__(self, module: Any, config: VaeConfig) -> None:
        self._module = module
        self._config = config
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

        self._caches = sum(isinstance(part, WanCausalConv3d) for part in self._module.decoder.modules())

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video in [-1, 1] (3, T, H, W) -> the most probable latents (z, T', H', W') float32, normalised."""
        weight = self._module.quant_conv.weight
        encoded: Tensor = self._module.encode(video[None].to(weight.device, weight.dtype)).latent_dist.mode()[0]
        mean, std = self._statistics(encoded)
        return (encoded.float() - mean) / std

    @torch.no_grad()
    def decode(self, latents: Tensor, rows: int = 1) -> Iterator[Tensor]:
        """Normalised latents (z, T', H', W') -> chunks in [-1, 1] (3, t, H, W) of the video, in order.

        The first chunk is the first frame; each other one is of `rows` latent rows, 4 frames for each. Memory grows
        with `rows`, and the result does not depend on it but for rounding.
        """
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

        mean, std = self._statistics(latents)
        weight = self._module.post_quant_conv.weight
        z = self._module.post_quant_conv((latents * std + mean)[None].to(weight.device, weight.dtype))
        cache: list[Any] = [None] * self._caches
        for first, last in pairwise([0, *range(1, z.shape[2], rows), z.shape[2]]):
            chunk = z[:, :, first:last]
            made = self._module.decoder(chunk, feat_cache=cache, feat_idx=[0], first_chunk=first == 0)
            if self._config.patch_size is not None:
                made = unpatchify(made, patch_size=self._config.patch_size)
            yield made[0].float().clamp(-1, 1)

    @torch.no_grad()
    def decode_tiled(self, latents: Tensor, tile: int, rows: int = 1) -> Tiled:
        """As `decode`, of tiles of `tile` x `tile` latents that share a quarter of their side, one after the other.

        Raises `ShapeError` for tiles of fewer than 4.
        """
        if tile < 4:
            raise ShapeError(f"Tiles of {tile} latents cannot overlap. Use 4 or more.")
        side = self._config.scale_factor_spatial
        _, frames, height, width = latents.shape
        size = (3, 1 + (frames - 1) * TEMPORAL_STRIDE, height * side, width * side)
        total, squares, weights = torch.zeros(size), torch.zeros(size), torch.zeros(1, 1, *size[2:])
        counts = torch.zeros_like(weights)
        for top in _starts(height, tile):
            for left in _starts(width, tile):
                part = latents[:, :, top : top + tile, left : left + tile]
                video = torch.cat([chunk.cpu() for chunk in self.decode(part, rows)], dim=1)
                where = (..., slice(top * side, (top + tile) * side), slice(left * side, (left + tile) * side))
                weight = _ramps(part.shape[2] * side, part.shape[3] * side)
                total[where] += weight * video
                squares[where] += weight * video.square()
                weights[where] += weight
                counts[where] += 1
        shown = total / weights
        spread = (squares / weights - shown.square()).clamp(min=0)
        shared = (counts > 1).expand_as(spread)
        seam = float(spread[shared].mean().sqrt()) if bool(shared.any()) else 0.0
        return Tiled(shown, seam)

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (z, 1, 1, 1) of the VAE's own latents."""
        numbers = (self._config.latents_mean, self._config.latents_std)
        mean, std = (torch.tensor(each, device=latents.device).view(-1, 1, 1, 1) for each in numbers)
        return mean, std


def _starts(length: int, tile: int) -> list[int]:
    """Where tiles begin so that they cover `length`, the last one ending with it."""
    stride = max(int(tile * (1 - OVERLAP)), 1)
    last = max(length - tile, 0)
    return sorted({*range(0, last, stride), last})


def _ramps(height: int, width: int) -> Tensor:
    """Weights (1, 1, H, W) that fall linearly over the shared edges, and never to zero."""
    sides = []
    for length in (height, width):
        places = torch.arange(length, dtype=torch.float32) + 1
        sides.append(torch.minimum(places, places.flip(0)).clamp(max=max(length * OVERLAP, 1.0)))
    return (sides[0][:, None] * sides[1])[None, None]

"""Masks and levels between pixels, latents and tokens of a clip."""

from torch import Tensor
from torch.nn import functional as F

from kinema_model.codec.grid import LatentGrid


def tokens_of_mask(grid: LatentGrid, mask: Tensor) -> Tensor:
    """A mask of pixels (T, H, W) -> 0.0 or 1.0 for each token (T', H', W'): 1.0 where one of its pixels is True."""
    padded = mask.float()[None, None]
    if grid.causal:
        # The first latent frame holds one frame: as if it came `strides[0]` times.
        padded = F.pad(padded, (0, 0, 0, 0, grid.strides[0] - 1, 0), mode="replicate")
    return F.max_pool3d(padded, grid.cell, grid.cell)[0, 0]


def pixels_of_tokens(grid: LatentGrid, tokens: Tensor) -> Tensor:
    """Values of tokens (T', H', W') for every pixel (T, H, W)."""
    pixels = _repeated(tokens, grid.cell)
    return pixels[grid.strides[0] - 1 :] if grid.causal else pixels


def latents_of_tokens(grid: LatentGrid, tokens: Tensor) -> Tensor:
    """Values of tokens (T', H', W') for every latent (T'', H'', W'')."""
    return _repeated(tokens, grid.patch)


def _repeated(values: Tensor, sides: tuple[int, int, int]) -> Tensor:
    for axis, side in enumerate(sides):
        values = values.repeat_interleave(side, axis)
    return values

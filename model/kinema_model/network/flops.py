"""Floating point operations of a network, by which ranks share work and utilisation is measured.

A multiply-add counts as two. Matrix products and attention are counted; norms, gates and rotations, which are
bound by memory, are not.
"""

from collections.abc import Sequence
from math import prod

from kinema_model.errors import ShapeError
from kinema_model.network.config import NetworkConfig


def forward_flops(
    config: NetworkConfig, clips: Sequence[int], texts: Sequence[int], levels: int = 1, images: Sequence[int] = ()
) -> int:
    """FLOPs of a forward pass over a pack: `clips` and `texts` are the true lengths n_i and m_i of its segments.

    With N and M their sums, U `levels`, width D, feed-forward F, P_in and P_out numbers of a patch:

        each layer   2 N (6 D^2 + 2 D F) + 2 M (2 D^2)      projections of self- and cross-attention, feed-forward
                     + 4 D sum n_i (n_i + m_i)              q k^T and the mean of v, within a clip and to its text
        once         2 N D (P_in + P_out) + 2 M D (text_dim + D) + 2 U D (freq_dim + 7 D)

    `images` are lengths l_i of image states, which network.image_dim E asks for: each layer 4 D (sum n_i l_i) +
    4 D^2 (sum l_i), once 2 E (E + D) (sum l_i). Additive over clips but for levels, which a pack shares.
    Raises `ShapeError` where clips, texts and images differ in number.
    """
    if len(texts) != len(clips) or len(images) not in (0, len(clips)):
        raise ShapeError(f"{len(clips)} clips have {len(texts)} texts and {len(images)} images. Give one for each.")
    d, n, m, pictures = config.width, sum(clips), sum(texts), sum(images)
    seen = [own + text + image for own, text, image in zip(clips, texts, images or [0] * len(clips), strict=True)]
    layer = 2 * n * (6 * d * d + 2 * d * config.ffn_dim) + 4 * d * d * (m + pictures)
    layer += 4 * d * sum(length * keys for length, keys in zip(clips, seen, strict=True))
    ends = 2 * n * d * (config.in_channels + config.out_channels) * prod(config.patch_size)
    conditioning = 2 * m * d * (config.text_dim + d) + 2 * levels * d * (config.freq_dim + 7 * d)
    if config.image_dim is not None:
        conditioning += 2 * pictures * config.image_dim * (config.image_dim + d)
    return config.num_layers * layer + ends + conditioning


def training_flops(
    config: NetworkConfig, clips: Sequence[int], texts: Sequence[int], levels: int = 1, images: Sequence[int] = ()
) -> int:
    """FLOPs of forward and backward: each product has two gradients, so three times `forward_flops`.

    Nothing is recomputed. The first layers count in full, although their inputs need no gradient.
    Raises `ShapeError`.
    """
    return 3 * forward_flops(config, clips, texts, levels, images)

"""Memory that serving a folder of open weights takes, estimated from its configs before anything is fetched.

Weights are counted exactly. Activations are estimates: the largest tensors that live at one time in the network and in
the VAE. No GPU has been at hand to measure peaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod
from typing import Final

from kinema_api.weight_counts import (
    Config,
    Count,
    around_blocks,
    block_count,
    decoder_blocks,
    decoder_stages,
    image_encoder_count,
    network_count,
    network_patch,
    network_width,
    number,
    text_encoder_count,
    vae_count,
)

GIB: Final = 1 << 30
RUNTIME: Final = GIB
"""A CUDA context and what libraries keep."""
_COUNTS: Final = {
    "transformer": network_count,
    "transformer_2": network_count,
    "vae": vae_count,
    "text_encoder": text_encoder_count,
    "image_encoder": image_encoder_count,
}
_NETWORKS: Final = ("transformer", "transformer_2")
_LIVE_FEATURES: Final = 6
"""Tensors of a stage that live at one time while the VAE decodes: input, residual, normal, padded, made, workspace."""


class Offload(StrEnum):
    """What stays on the device; the words of kinema_model.open_weights.offload, which a test compares."""

    NONE = "none"
    COMPONENTS = "components"
    BLOCKS = "blocks"


@dataclass(frozen=True)
class ClipSize:
    """Frames, rows and columns of a clip."""

    frames: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.width}x{self.height}"


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes on the device, by component for weights and by stage for what is computed.

    `denoising` is for one text at a time; with blocks offloaded two go together and take twice that.
    """

    weights: Mapping[str, int]
    block: int
    around_blocks: int
    denoising: int
    decoding: int

    def peak(self, offload: Offload) -> int:
        """Bytes at the worst moment."""
        weights, denoising = self.weights, self.denoising
        if offload is Offload.NONE:
            return RUNTIME + sum(weights.values()) + max(denoising, self.decoding)
        network = max(weights[name] for name in _NETWORKS if name in weights)
        if offload is Offload.BLOCKS:
            network, denoising = self.around_blocks + 2 * self.block, 2 * denoising
        encoders = [size for name, size in weights.items() if name not in (*_NETWORKS, "vae")]
        return RUNTIME + max(*encoders, network + denoising, weights["vae"] + self.decoding)


def parameters(component: str, config: Config) -> int:
    """Parameters of a component with this config. Raises `BrokenFolder`, naming the field."""
    return _COUNTS[component](config).total


def memory_need(
    configs: Mapping[str, Config], size: ClipSize, *, dtype_bytes: int = 2, vae_bytes: int = 4, decode_rows: int = 1
) -> MemoryNeed:
    """What serving a clip takes; `configs` are config.json by component, at least transformer, vae and text_encoder.

    `dtype_bytes` are those of a parameter of network and text encoder. Raises `BrokenFolder`, naming the field.
    """
    sizes = {"vae": vae_bytes, "image_encoder": 4}
    counts: dict[str, Count] = {name: _COUNTS[name](config) for name, config in configs.items() if name in _COUNTS}
    network = configs["transformer"]
    return MemoryNeed(
        weights={name: count.bytes(sizes.get(name, dtype_bytes)) for name, count in counts.items()},
        block=block_count(network).bytes(dtype_bytes),
        around_blocks=around_blocks(network).bytes(dtype_bytes),
        denoising=_denoising(network, configs["vae"], size, dtype_bytes),
        decoding=_decoding(configs["vae"], size, vae_bytes, decode_rows),
    )


def fitting(configs: Mapping[str, Config], size: ClipSize, device_bytes: int, *, dtype_bytes: int = 2) -> Offload:
    """The least offloading with which a clip fits on a device of so many bytes; `BLOCKS` where none is enough.

    Raises `BrokenFolder`, naming the field of the config.
    """
    need = memory_need(configs, size, dtype_bytes=dtype_bytes)
    return next((each for each in Offload if need.peak(each) <= device_bytes), Offload.BLOCKS)


def refusal(
    configs: Mapping[str, Config], size: ClipSize, offload: Offload, device_bytes: int, *, dtype_bytes: int = 2
) -> str | None:
    """Why a device of so many bytes cannot serve this clip, and what would do; None where it can.

    Raises `BrokenFolder`, naming the field of the config.
    """
    need = memory_need(configs, size, dtype_bytes=dtype_bytes).peak(offload)
    if need <= device_bytes:
        return None
    said = f"{size} need {_gib(need)} on the device, which has {_gib(device_bytes)}"
    for smaller in _smaller(size):
        least = memory_need(configs, smaller, dtype_bytes=dtype_bytes).peak(offload)
        if least <= device_bytes:
            return f"{said}: request {smaller}, which need {_gib(least)}"
    return f"{said}: use a device with {_gib(need)}, or smaller weights"


def _smaller(size: ClipSize) -> Iterator[ClipSize]:
    """Fewer frames down to a fifth first, then smaller pictures; in steps that keep a clip whole."""
    least = max(size.frames // 5 // 4 * 4 + 1, 1)
    for divisor in (1, 2, 4):
        height, width = (max(side // divisor // 32 * 32, 32) for side in (size.height, size.width))
        sized = size if divisor == 1 else replace(size, height=height, width=width)
        yield from (replace(sized, frames=frames) for frames in range(size.frames // 4 * 4 + 1, least - 1, -8))


def _denoising(network: Config, vae: Config, size: ClipSize, element: int) -> int:
    """The larger of attention and feed-forward of one block, over all tokens of one text."""
    side = number(vae, "scale_factor_spatial", 8)
    latents = 1 + (size.frames - 1) // 4, size.height // side, size.width // side
    tokens = prod(-(-extent // patch) for extent, patch in zip(latents, network_patch(network), strict=True))
    d, hidden = network_width(network), number(network, "ffn_dim")
    # x, its normalised copy, queries, keys, values; queries and keys in float32 while they are turned.
    attention = 5 * d * element + 4 * d * 4
    # x, its normalised copy, the hidden layer before and after its activation; the sum in float32.
    feed_forward = max(2 * d * element + 2 * hidden * element, 3 * d * element + 3 * d * 4)
    inputs = 4 * number(network, "in_channels", 16) * prod(latents) * 4
    return tokens * max(attention, feed_forward) + inputs


def _decoding(vae: Config, size: ClipSize, element: int, rows: int) -> int:
    """Features that the causal convolutions keep, and those of the largest stage while a chunk is decoded."""
    stages, convolutions = decoder_stages(vae), 2 * decoder_blocks(vae)
    side = number(vae, "scale_factor_spatial", 8)
    area, frames = (size.height // side) * (size.width // side), rows
    kept = (4 + 1) * 2 * area * stages[0].taken
    largest = 0
    for stage in stages:
        kept += 2 * area * stage.made * (convolutions + stage.doubles_frames)
        largest = max(largest, frames * area * max(stage.taken, stage.made))
        if stage.grows:
            area, frames = 4 * area, frames * (2 if stage.doubles_frames else 1)
            largest = max(largest, frames * area * stage.made // 2)
    kept += 2 * area * stages[-1].made
    return element * (kept + _LIVE_FEATURES * largest)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"

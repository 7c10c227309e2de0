"""Our network and the one of diffusers with the same weights, and sets of clips for both.

Ours takes a set as one pack, theirs takes each shape as a separate batch without padding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor

from kinema_model.network.config import NetworkConfig
from kinema_model.network.pack import Box, Pack, Part, Sample, pack_samples, patchify
from kinema_model.network.transformer import VideoTransformer


@dataclass(frozen=True)
class Clips:
    """One set: latents and targets (C, T, H, W), levels and texts of its clips, and which of them share a shape."""

    name: str
    patch: Box
    boxes: list[Box]
    latents: list[Tensor]
    targets: list[Tensor]
    texts: list[Tensor]
    levels: Tensor
    groups: list[list[int]]

    @property
    def numbers(self) -> int:
        """Number of values that a network predicts for this set."""
        return sum(target.numel() for target in self.targets)


def make_clips(
    name: str, config: NetworkConfig, boxes: list[Box], text: int, dtype: torch.dtype, device: torch.device
) -> Clips:
    """Random clips of these boxes of patches, with texts of so many states and levels of their own."""
    torch.manual_seed(len(boxes))
    sizes = [[cells * side for cells, side in zip(box, config.patch_size, strict=True)] for box in boxes]
    latents, targets = (
        [torch.randn(config.in_channels, *size, dtype=dtype, device=device) for size in sizes] for _ in range(2)
    )
    texts = [torch.randn(text, config.text_dim, dtype=dtype, device=device) for _ in boxes]
    groups: dict[Box, list[int]] = defaultdict(list)
    for number, box in enumerate(boxes):
        groups[box].append(number)
    levels = torch.linspace(0.2, 0.9, len(boxes), device=device)
    return Clips(name, config.patch_size, boxes, latents, targets, texts, levels, list(groups.values()))


class Ours:
    """The packed network."""

    def __init__(self, network: VideoTransformer) -> None:
        self.network = network

    def pack(self, clips: Clips, levels: Tensor) -> Pack:
        """All clips as one sequence."""
        parts = [
            Part(x, level.expand(box), torch.arange(box[0], device=x.device))
            for x, level, box in zip(clips.latents, levels, clips.boxes, strict=True)
        ]
        return pack_samples([Sample((part,), text) for part, text in zip(parts, clips.texts, strict=True)], clips.patch)

    def velocity(self, pack: Pack) -> Tensor:
        """The predicted velocity, channels first as in patches."""
        emitted: Tensor = self.network(pack)
        return emitted.view(len(emitted), prod(self.network.config.patch_size), -1).transpose(1, 2).flatten(1)

    def train(self, clips: Clips) -> None:
        """Forward and backward."""
        target = torch.cat([patchify(each, clips.patch) for each in clips.targets])
        error = self.velocity(self.pack(clips, clips.levels)).float() - target.float()
        torch.autograd.backward(error.square().sum() / clips.numbers)

    def denoiser(self, clips: Clips, level: float) -> Callable[[], list[Tensor]]:
        """A step without gradient; a sampler packs once for all its steps."""
        pack = self.pack(clips, torch.full_like(clips.levels, level))
        return lambda: list(torch.split(self.velocity(pack), list(pack.clips.lengths)))


class Theirs:
    """diffusers' network, shape by shape."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def batches(self, clips: Clips) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Latents, targets, texts and levels of each shape."""
        for group in clips.groups:
            latents, targets, texts = (
                torch.stack([each[number] for number in group]) for each in (clips.latents, clips.targets, clips.texts)
            )
            yield latents, targets, texts, clips.levels[group]

    def velocity(self, x: Tensor, levels: Tensor, texts: Tensor) -> Tensor:
        """(B, C, T, H, W) -> the same."""
        out: Tensor = self.network(x, levels * 1000, texts, return_dict=False)[0]
        return out

    def trainer(self, clips: Clips) -> Callable[[], None]:
        """Forward and backward of every batch; gradients add up."""
        batches = list(self.batches(clips))

        def train() -> None:
            for x, target, texts, levels in batches:
                error = self.velocity(x, levels, texts).float() - target.float()
                torch.autograd.backward(error.square().sum() / clips.numbers)

        return train

    def denoiser(self, clips: Clips, level: float) -> Callable[[], list[Tensor]]:
        """A step without gradient."""
        batches = [(x, torch.full_like(levels, level), texts) for x, _, texts, levels in self.batches(clips)]
        return lambda: [self.velocity(*batch) for batch in batches]


def pair(config: NetworkConfig, dtype: torch.dtype, device: torch.device) -> tuple[Ours, Theirs]:
    """Both networks, sharing their weights, in the dtypes that diffusers loads."""
    torch.manual_seed(0)
    fields = config.to_diffusers()
    del fields["_class_name"]
    theirs = WanTransformer3DModel(**fields)
    for name, parameter in theirs.named_parameters():
        full = any(part in name for part in theirs._keep_in_fp32_modules)
        parameter.data = parameter.data.to(device, torch.float32 if full else dtype)
    theirs.to(device)
    with torch.device("meta"):
        ours = VideoTransformer(config, null_text=False)
    ours.load_state_dict(dict(theirs.named_parameters()), assign=True)
    return Ours(ours), Theirs(theirs)


def in_order(batches: list[Tensor], clips: Clips) -> list[Tensor]:
    """Tokens of each clip, from their output for each shape."""
    each = {
        number: patchify(latents, clips.patch)
        for group, batch in zip(clips.groups, batches, strict=True)
        for number, latents in zip(group, batch, strict=True)
    }
    return [each[number] for number in range(len(clips.boxes))]

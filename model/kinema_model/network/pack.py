"""Clips of any length, size and frame rate as one sequence without padding (NaViT, Dehghani et al. 2023), and back.

A clip is one or more parts: boxes of latents with a noise level per token and positions on the time axis. An input
image is a part of its own, so that training encodes it as sampling does, at any time of the clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Self

import torch
from torch import Tensor

from kinema_model.errors import ShapeError
from kinema_model.network.attention import AttentionPattern, Segments, mapped_fields
from kinema_model.network.chunks import Box as Box
from kinema_model.network.chunks import Chunks, attention_pattern


@dataclass(frozen=True)
class Part:
    """Latents (C, T, H, W) of one box, levels of its tokens (T', H', W') in [0, 1], times (T',) of its token rows.

    T', H', W' count patches. `times` are positions on the rotary time axis, in frames at `reference_fps`.
    """

    latents: Tensor
    levels: Tensor
    times: Tensor


@dataclass(frozen=True)
class Cut:
    """A change of text: from token row `row` of a clip on, its text has the states (L, text_dim)."""

    row: int
    text: Tensor


@dataclass(frozen=True)
class Sample:
    """One clip: its parts, token states of its text (L, text_dim), and of its image (I, image_dim) if any.

    The first part is the clip itself, the others are inputs beside it. An empty text (0, text_dim) is no text. `cuts`
    are in the order of their rows; parts beside the clip share `text`. With `chunks` no chunk attends to a later one.
    """

    parts: tuple[Part, ...]
    text: Tensor
    image: Tensor | None = None
    cuts: tuple[Cut, ...] = ()
    chunks: Chunks | None = None


@dataclass(frozen=True)
class Pack:
    """Samples as one sequence of N tokens.

    tokens (N, C pt ph pw); places (N, 3) are positions on the rotary axes (time, row, column), scaled_places (N, 3) the
    same scaled to [-1, 1] over the first part of each sample; levels (U,) are the distinct noise levels and level_index
    (N,) points into them; context (N,) is True for a token that is noised but adds nothing to the loss; text
    (M, text_dim) and textless (M,), True where a row stands for no text; image (I, image_dim). `runs` are the segments
    of tokens that share a text, `pattern` says which tokens attend to which.
    """

    tokens: Tensor
    places: Tensor
    scaled_places: Tensor
    levels: Tensor
    level_index: Tensor
    context: Tensor
    clips: Segments
    pattern: AttentionPattern
    runs: Segments
    text: Tensor
    textless: Tensor
    texts: Segments
    boxes: tuple[tuple[Box, ...], ...]
    """(frames, rows, columns) in patches, of every part of every sample, in order."""
    image: Tensor | None = None
    images: Segments | None = None

    @property
    def token_levels(self) -> Tensor:
        """(N,): the level of each token."""
        return self.levels.index_select(0, self.level_index)

    def at(self, tokens: Tensor, levels: Tensor) -> Self:
        """The same pack with other tokens (N, C pt ph pw) and other levels (U,) in place of the distinct ones."""
        return replace(self, tokens=tokens, levels=levels)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same pack on another device. `non_blocking` is of use for a pinned pack alone."""
        return replace(self, **mapped_fields(self, lambda tensor: tensor.to(device, non_blocking=non_blocking)))

    def pinned(self) -> Self:
        """The same pack in memory that a GPU copies from while the processor goes on."""
        return replace(self, **mapped_fields(self, Tensor.pin_memory))


def patchify(latents: Tensor, patch: Box) -> Tensor:
    """(C, T, H, W) -> (T' H' W', C pt ph pw): one row per patch. Raises `ShapeError` for a part of a patch."""
    c, t, h, w = latents.shape
    pt, ph, pw = patch
    if t % pt or h % ph or w % pw:
        raise ShapeError(f"A clip of {t} x {h} x {w} is not whole patches. Use multiples of {patch}.")
    cells = latents.reshape(c, t // pt, pt, h // ph, ph, w // pw, pw)
    return cells.permute(1, 3, 5, 0, 2, 4, 6).reshape(-1, c * prod(patch))


def unpatchify(tokens: Tensor, box: Box, patch: Box) -> Tensor:
    """(T' H' W', C pt ph pw) -> (C, T, H, W)."""
    t, h, w = box
    pt, ph, pw = patch
    cells = tokens.view(t, h, w, -1, pt, ph, pw)
    return cells.permute(3, 0, 4, 1, 5, 2, 6).reshape(-1, t * pt, h * ph, w * pw)


def pack_samples(samples: Sequence[Sample], patch: Box) -> Pack:
    """All parts of all samples as one sequence, in order. Raises `ShapeError` for shapes that do not fit each other."""
    if not samples or any(not sample.parts for sample in samples):
        raise ShapeError("There is nothing to pack. Give samples with at least one part each.")
    boxes = tuple(tuple(_box(part, patch) for part in sample.parts) for sample in samples)
    parts = [part for sample in samples for part in sample.parts]
    levels, level_index = torch.unique(torch.cat([p.levels.flatten() for p in parts]), return_inverse=True)
    places = [_places(sample, mine) for sample, mine in zip(samples, boxes, strict=True)]
    absolute = torch.cat([each for each, _ in places])
    runs = [run for sample, mine in zip(samples, boxes, strict=True) for run in _runs(sample, mine)]
    texts = [said if len(said) else said.new_zeros(1, said.shape[1]) for _, said in runs]
    textless = [torch.full((len(t),), not len(said), device=t.device) for (_, said), t in zip(runs, texts, strict=True)]
    images = [sample.image for sample in samples if sample.image is not None]
    if images and len(images) < len(samples):
        raise ShapeError("Some samples of a pack have image states and others none. Pack them apart.")
    device = parts[0].latents.device
    return Pack(
        tokens=torch.cat([patchify(part.latents, patch) for part in parts]),
        places=absolute,
        scaled_places=torch.cat([scaled for _, scaled in places]),
        levels=levels,
        level_index=level_index,
        context=torch.cat([_context(sample, mine) for sample, mine in zip(samples, boxes, strict=True)]).to(device),
        clips=Segments.of([sum(map(prod, mine)) for mine in boxes], device),
        pattern=attention_pattern([sample.chunks for sample in samples], boxes, absolute),
        runs=Segments.of([count for count, _ in runs], device),
        text=torch.cat(texts),
        textless=torch.cat(textless),
        texts=Segments.of([len(text) for text in texts], device),
        boxes=boxes,
        image=torch.cat(images) if images else None,
        images=Segments.of([len(image) for image in images], device) if images else None,
    )


def unpack(tokens: Tensor, pack: Pack, patch: Box) -> list[list[Tensor]]:
    """Tokens (N, C pt ph pw) in the pack's order -> latents (C, T, H, W) of every part of every sample."""
    pieces = iter(torch.split(tokens, [prod(box) for boxes in pack.boxes for box in boxes]))
    return [[unpatchify(next(pieces), box, patch) for box in boxes] for boxes in pack.boxes]


def _runs(sample: Sample, boxes: Sequence[Box]) -> list[tuple[int, Tensor]]:
    """Numbers of tokens that share a text, in order, with that text."""
    (frames, height, width), *beside = boxes
    if not sample.cuts:
        return [(sum(map(prod, boxes)), sample.text)]
    rows = [0, *(cut.row for cut in sample.cuts), frames]
    if any(first >= last for first, last in pairwise(rows)):
        raise ShapeError(f"Cuts at rows {rows[1:-1]} do not fit a clip of {frames}. Give rising rows inside it.")
    texts = [sample.text, *(cut.text for cut in sample.cuts)]
    runs = [((last - first) * height * width, text) for (first, last), text in zip(pairwise(rows), texts, strict=True)]
    return [*runs, (sum(map(prod, beside)), sample.text)] if beside else runs


def _context(sample: Sample, boxes: Sequence[Box]) -> Tensor:
    """(n,): True for the tokens that sampling has already generated: finished chunks, and references."""
    tokens = torch.arange(sum(map(prod, boxes)))
    if sample.chunks is None:
        return torch.zeros_like(tokens, dtype=torch.bool)
    rows = sum(sample.chunks.rows[: sample.chunks.context])
    return (tokens < rows * prod(boxes[0][1:])) | (tokens >= prod(boxes[0]))


def _box(part: Part, patch: Box) -> Box:
    if part.latents.ndim != 4:
        raise ShapeError(f"Latents of shape {tuple(part.latents.shape)} do not fit. Give (C, T, H, W).")
    t, h, w = (size // side for size, side in zip(part.latents.shape[1:], patch, strict=True))
    if tuple(part.levels.shape) != (t, h, w) or tuple(part.times.shape) != (t,):
        raise ShapeError(
            f"Levels {tuple(part.levels.shape)} and times {tuple(part.times.shape)} do not fit latents "
            f"{tuple(part.latents.shape)}. Give one level per patch, {(t, h, w)}, and one time per row of them."
        )
    return t, h, w


def _places(sample: Sample, boxes: Sequence[Box]) -> tuple[Tensor, Tensor]:
    """Positions (n, 3) of the tokens of a sample on the rotary axes, and scaled by the extent of its first part."""
    (frames, height, width), times = boxes[0], sample.parts[0].times
    device = sample.parts[0].latents.device
    grids = []
    for part, box in zip(sample.parts, boxes, strict=True):
        rows, columns = (torch.arange(n, dtype=torch.float32, device=device) for n in box[1:])
        grid = torch.meshgrid(part.times.float().to(device), rows, columns, indexing="ij")
        grids.append(torch.stack(grid, dim=-1).flatten(0, 2))
    places = torch.cat(grids)
    pace = float(times[1] - times[0]) if frames > 1 else 1.0
    first = torch.tensor([float(times[0]), 0.0, 0.0], device=device)
    cells = torch.tensor([frames * pace, float(height), float(width)], device=device)
    centre = torch.tensor([pace, 1.0, 1.0], device=device) / 2
    return places, 2 * (places - first + centre) / cells - 1

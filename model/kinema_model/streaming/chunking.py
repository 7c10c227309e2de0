"""A training clip of a streaming model: finished chunks, and after them one chunk to generate.

That is what sampling asks for each chunk. Finished chunks are slightly noised, since generated chunks differ from those
of the data (Diffusion Forcing, Chen et al. 2024, arXiv:2407.01392, section 3.3). No chunk is trained after half-noised
ones, since sampling never has them.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from kinema_model.codec.codec import Codec, to_float
from kinema_model.codec.latents import whole_clip
from kinema_model.conditions.conditioning import reference
from kinema_model.config import ModelConfig, StreamingConfig
from kinema_model.diffusion.flow import DrawnLevel
from kinema_model.network.chunks import Chunks
from kinema_model.network.pack import Cut, Part, Sample
from kinema_model.source import Clip


def chunk_rows(config: ModelConfig, streaming: StreamingConfig, rows: int) -> list[int]:
    """Token rows of each chunk of a shot with so many `rows`: full chunks, and the rest in the last one."""
    full = config.grid.rows_in(streaming.chunk_frames)
    return [min(full, rows - first) for first in range(0, rows, full)]


def reference_of(
    config: ModelConfig, streaming: StreamingConfig, codec: Codec, shot: Tensor, fps: float
) -> tuple[Part, ...]:
    """The reference part from the first frames of a shot uint8 (t, H, W, 3) at `fps` frames per second, or none."""
    frames = min(streaming.reference_frames, streaming.chunk_frames, len(shot))
    if not frames:
        return ()
    return (reference(config, codec, to_float(shot[None, :frames])[0], fps),)


def chunked_sample(
    config: ModelConfig,
    streaming: StreamingConfig,
    codec: Codec,
    clip: Clip,
    texts: Sequence[Tensor],
    level: DrawnLevel,
    draw: np.random.Generator,
) -> Sample:
    """A clip cut off after one chunk, drawn by `draw`, which is the one to generate.

    `texts` (L, text_dim) are one for each shot, `level` is its noise level before the shift. Earlier chunks are
    context at `context_level`, as sampling leaves finished ones. So are the reference frames, the first of
    the first shot. Chunks end where shots do, as in sampling.
    """
    whole = whole_clip(config, codec.encode(to_float(clip.video[None]))[0], clip.fps)
    total, height, width = whole.levels.shape
    starts = [config.grid.row_at(first) for first in clip.starts]
    rows = [n for first, end in pairwise([*starts, total]) for n in chunk_rows(config, streaming, end - first)]
    context = int(draw.integers(len(rows)))
    rows = rows[: context + 1]
    shift = config.shift_for(config.grid.rows_in(streaming.chunk_frames) * height * width)
    levels = torch.full((sum(rows),), streaming.context_level)
    levels[sum(rows[:context]) :] = level.shifted(shift)
    beside: tuple[Part, ...] = ()
    if context:
        first = clip.video[: config.grid.frames_of(rows[0])]
        beside = tuple(
            replace(part, levels=torch.full_like(part.levels, streaming.context_level))
            for part in reference_of(config, streaming, codec, first, clip.fps)
        )
    shown = Part(
        whole.latents[:, : len(levels) * config.patch[0]],
        levels[:, None, None].expand(-1, height, width),
        whole.times[: len(levels)],
    )
    cuts = [Cut(row, text) for row, text in zip(starts[1:], texts[1:], strict=True) if row < len(levels)]
    chunks = Chunks(tuple(rows), streaming.window_chunks, context)
    return Sample((shown, *beside), texts[0], cuts=tuple(cuts), chunks=chunks)

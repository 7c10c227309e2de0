"""A clip as a streaming model is taught it: one chunk to be made, behind chunks that are finished.

That is what sampling asks, chunk after chunk. Finished chunks are slightly noised, since what a model makes is not
quite what it is taught on (Diffusion Forcing, arXiv:2407.01392, section 3.3). A chunk behind half-noised ones, which
one pass over a whole clip could teach as well, is never met.
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
from kinema_model.diffusion.flow import shift_levels
from kinema_model.network.chunks import Chunks
from kinema_model.network.pack import Cut, Part, Sample
from kinema_model.source import Clip


def chunk_rows(config: ModelConfig, streaming: StreamingConfig, rows: int) -> list[int]:
    """Token rows of a shot's chunks: full ones, and at the end what is left."""
    full = streaming.chunk_frames // config.patch[0]
    return [min(full, rows - first) for first in range(0, rows, full)]


def reference_of(
    config: ModelConfig, streaming: StreamingConfig, codec: Codec, shot: Tensor, fps: float
) -> tuple[Part, ...]:
    """The part that keeps the beginning of a shot uint8 (t, H, W, 3) in sight, or none."""
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
    level: Tensor,
    draw: np.random.Generator,
) -> Sample:
    """A clip in streaming mode: `texts` for its shots, `level` () before the shift.

    It ends with the one chunk that is to be made, drawn by `draw`. Those before it stand as sampling leaves finished
    ones, at `context_level`, and so do the first frames of the first shot beside them: what comes back was there.
    Chunks end where shots do, as in sampling.
    """
    whole = whole_clip(config, codec.encode(to_float(clip.video[None]))[0], clip.fps)
    total, height, width = whole.levels.shape
    starts = [round(first / config.patch[0]) for first in clip.starts]
    rows = [n for first, end in pairwise([*starts, total]) for n in chunk_rows(config, streaming, end - first)]
    context = int(draw.integers(len(rows)))
    rows = rows[: context + 1]
    shift = config.shift_for(streaming.chunk_frames // config.patch[0] * height * width)
    levels = torch.full((sum(rows),), streaming.context_level)
    levels[sum(rows[:context]) :] = shift_levels(level, shift)
    beside: tuple[Part, ...] = ()
    if context:
        first = clip.video[: rows[0] * config.patch[0]]
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

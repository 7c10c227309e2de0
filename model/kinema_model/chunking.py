"""A clip as a streaming model is taught it: in chunks, of which earlier ones are cleaner than later ones.

A level per chunk is Diffusion Forcing (arXiv:2407.01392). Since a chunk sees none after it, one pass trains all chunks.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from kinema_model.codec import Codec, to_float
from kinema_model.conditioning import reference
from kinema_model.config import ModelConfig, StreamingConfig
from kinema_model.flow import shift_levels
from kinema_model.latents import whole_clip
from kinema_model.network.chunks import Chunks
from kinema_model.network.pack import Cut, Part, Sample
from kinema_model.world.scene import Scene


def chunk_rows(config: ModelConfig, streaming: StreamingConfig, rows: int) -> list[int]:
    """Token rows of a shot's chunks: full ones, and at the end what is left."""
    full = streaming.chunk_frames // config.patch[0]
    return [min(full, rows - first) for first in range(0, rows, full)]


def staggered_levels(count: int, context: int, level: float, context_level: float, draw: np.random.Generator) -> Tensor:
    """(count,): the first `context` chunks at one level up to `context_level`, the next at `level`, others above it.

    Sampling makes one chunk at a time behind finished ones, so the first chunk that is made gets its level as any clip
    does: sorted draws (as levels rise along the window in Rolling Diffusion, arXiv:2402.09470, and MAGI-1,
    arXiv:2505.13211) would show it low levels only. Each later one lies uniformly between its predecessor and 1: what
    is before a chunk is never noisier than itself, but as vague as it may be.
    """
    levels = [context_level * draw.random()] * context
    for _ in range(count - context):
        levels.append(level)
        level += draw.random() * (1 - level)
    return torch.tensor(levels, dtype=torch.float32)


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
    video: Tensor,
    scene: Scene,
    texts: Sequence[Tensor],
    level: Tensor,
    draw: np.random.Generator,
) -> Sample:
    """A clip uint8 (T, H, W, 3) in streaming mode: `texts` for its shots, `level` () before the shift.

    Chunks end where shots do, as in sampling; the first frames of the first shot are the reference, since what comes
    back was there.
    """
    clip = whole_clip(config, codec.encode(to_float(video[None]))[0], scene.shape.fps)
    total, height, width = clip.levels.shape
    starts = [round(shot.first / config.patch[0]) for shot in scene.shots]
    rows = [n for first, end in pairwise([*starts, total]) for n in chunk_rows(config, streaming, end - first)]
    context = int(draw.integers(len(rows)))
    shift = config.shift_for(streaming.chunk_frames // config.patch[0] * height * width)
    made = float(shift_levels(level, shift))
    levels = staggered_levels(len(rows), context, made, streaming.context_level, draw)
    per_row = levels.repeat_interleave(torch.tensor(rows))
    beside: tuple[Part, ...] = ()
    if len(rows) > 1:
        beside = reference_of(config, streaming, codec, video[: rows[0] * config.patch[0]], scene.shape.fps)
    return Sample(
        (replace(clip, levels=per_row[:, None, None].expand(total, height, width)), *beside),
        texts[0],
        cuts=tuple(Cut(row, text) for row, text in zip(starts[1:], texts[1:], strict=True)),
        chunks=Chunks(tuple(rows), streaming.window_chunks, context),
    )

"""The inputs of a task as parts of a pack. Training and sampling share this code, so a model samples as it was trained.

Every input segment is encoded alone and never cut from the latents of a whole clip: a codec with a temporal receptive
field would leak frames that sampling does not have. Frames at the start are tokens of the clip itself, at level 0;
others are separate parts at the time of their first frame.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kinema_model.codec.codec import Codec
from kinema_model.codec.latents import whole_clip
from kinema_model.codec.masks import latents_of_tokens, pixels_of_tokens, tokens_of_mask
from kinema_model.conditions.task_inputs import Segment, TaskInputs, check_inputs
from kinema_model.config import ModelConfig
from kinema_model.network.pack import Part


def condition(config: ModelConfig, codec: Codec, latents: Tensor, fps: float, inputs: TaskInputs) -> tuple[Part, ...]:
    """The part of the clip and those of its inputs: level 0 for inputs, level 1 for tokens that are generated.

    `latents` (C, T, H, W) fill the tokens that are generated: in training the clip's own latents, in sampling those
    that noise is added to. `fps` is in frames per second. Raises `ShapeError` for inputs that do not fit the clip.
    """
    clip = whole_clip(config, latents, fps)
    check_inputs(inputs, *_pixels_of(config, clip))
    if inputs.source is not None and inputs.mask is not None:
        clip = _masked(config, codec, clip, inputs.source, inputs.mask)
    beside = []
    for segment in inputs.segments:
        if segment.at == 0:
            clip, *rest = _begun(config, codec, clip, segment, fps)
            beside.extend(rest)
        else:
            beside.append(_beside(config, codec, segment, fps))
    return clip, *beside


def reference(config: ModelConfig, codec: Codec, frames: Tensor, fps: float) -> Part:
    """Reference frames (3, t, H, W) in [-1, 1] of a stream, as an input segment that ends where the clip begins."""
    return _beside(config, codec, Segment(frames, -config.grid.whole_frames(frames.shape[1])), fps)


def _pixels_of(config: ModelConfig, clip: Part) -> tuple[int, int, int]:
    """Frames, height and width in pixels of a clip of whole tokens."""
    rows, height, width = clip.levels.shape
    return config.grid.frames_of(rows), height * config.grid.cell[1], width * config.grid.cell[2]


def _masked(config: ModelConfig, codec: Codec, clip: Part, source: Tensor, mask: Tensor) -> Part:
    """The clip with the source in the tokens outside the mask; the mask is filled with grey before encoding."""
    levels = tokens_of_mask(config.grid, mask)
    encoded = codec.encode((source * ~pixels_of_tokens(config.grid, levels).bool())[None])[0]
    return _overlaid(config, clip, encoded, levels)


def _begun(config: ModelConfig, codec: Codec, clip: Part, segment: Segment, fps: float) -> tuple[Part, ...]:
    """The clip with an input segment as its first token rows, and a part for the frames that fill no whole row."""
    rows = config.grid.rows_in(segment.video.shape[1])
    filled = config.grid.frames_of(rows)
    rest = segment.video[:, filled:]
    beside = (_beside(config, codec, Segment(rest, filled), fps),) if rest.shape[1] else ()
    if not rows:
        return clip, *beside
    encoded = codec.encode(segment.video[None, :, :filled])[0]
    levels = clip.levels.clone()
    levels[:rows] = 0
    padded = F.pad(encoded, (0, 0, 0, 0, 0, clip.latents.shape[1] - encoded.shape[1]))
    return _overlaid(config, clip, padded, levels), *beside


def _overlaid(config: ModelConfig, clip: Part, encoded: Tensor, levels: Tensor) -> Part:
    made = latents_of_tokens(config.grid, levels)
    return Part(clip.latents * made + encoded * (1 - made), torch.minimum(clip.levels, levels), clip.times)


def _beside(config: ModelConfig, codec: Codec, segment: Segment, fps: float) -> Part:
    """The segment encoded alone; its last frame is repeated until it fills whole rows of tokens."""
    missing = config.grid.whole_frames(segment.video.shape[1]) - segment.video.shape[1]
    filled = torch.cat([segment.video, *[segment.video[:, -1:]] * missing], dim=1)
    part = whole_clip(config, codec.encode(filled[None])[0], fps, segment.at)
    return replace(part, levels=torch.zeros_like(part.levels))


@dataclass(frozen=True)
class Seam:
    """The boundary between an input segment and generated frames, at frame `frame`.

    `jump` is the mean absolute difference of pixels in [-1, 1] between input and generated frame, `usual` the mean of
    this difference between neighbouring generated frames.
    """

    frame: int
    jump: float
    usual: float


def seams(made: Tensor, inputs: TaskInputs) -> list[Seam]:
    """Seams of a generated clip (3, T, H, W) in [-1, 1], before the inputs are pasted.

    The last frame of a segment at the start is compared with the generated frame after it. The first frame of any other
    segment is compared with the generated frame at its place, or with the last one where it follows the clip.
    """
    frames = made.shape[1]
    steps = (made[:, 1:] - made[:, :-1]).abs().mean(dim=(0, 2, 3))
    usual = float(steps.mean()) if len(steps) else 0.0
    found = []
    for segment in inputs.segments:
        count = segment.video.shape[1]
        if segment.at == 0 and count < frames:
            found.append(Seam(count, float((made[:, count] - segment.video[:, -1]).abs().mean()), usual))
        elif 0 < segment.at < frames:
            found.append(Seam(segment.at, float((made[:, segment.at] - segment.video[:, 0]).abs().mean()), usual))
        elif segment.at == frames:
            found.append(Seam(frames, float((made[:, -1] - segment.video[:, 0]).abs().mean()), usual))
    return found


def paste(made: Tensor, inputs: TaskInputs, cell: tuple[int, int, int]) -> Tensor:
    """A generated clip (3, T, H, W) with its inputs pasted in, bit for bit.

    `cell` is the size of a token in frames, rows and columns. Around a mask the generated pixels fade into the source
    within half a cell.
    """
    clip = made.clone()
    if inputs.source is not None and inputs.mask is not None:
        share = _faded(inputs.mask, max(cell[1:]))
        clip = torch.where(share == 0, inputs.source, inputs.source + share * (made - inputs.source))
        clip = torch.where(share == 1, made, clip)
    for segment in inputs.segments:
        count = min(segment.video.shape[1], clip.shape[1] - segment.at)
        clip[:, segment.at : segment.at + count] = segment.video[:, :count]
    return clip


def _faded(mask: Tensor, reach: int) -> Tensor:
    """1 inside a mask (T, H, W), falling to 0 within half of `reach` pixels outside it."""
    share = mask.float()[:, None]
    steps = max(1, reach // 2)
    ring = share
    for number in range(1, steps):
        ring = F.max_pool2d(ring, 3, 1, 1)
        share = torch.maximum(share, ring * (1 - number / steps))
    return share[:, 0]

"""The inputs of a task as parts of a pack. Training and sampling share this code, so a model samples as it was trained.

Every input segment is encoded alone and never cut from the latents of a whole clip: a codec with a temporal receptive
field would leak frames that sampling does not have. Frames at the start are tokens of the clip itself, at level 0;
others are separate parts at the time of their first frame.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kinema_model.codec.codec import Codec
from kinema_model.codec.latents import token_times, whole_clip
from kinema_model.conditions.task_inputs import Segment, TaskInputs, check_inputs
from kinema_model.config import ModelConfig
from kinema_model.network.pack import Part


def condition(config: ModelConfig, codec: Codec, latents: Tensor, fps: float, inputs: TaskInputs) -> tuple[Part, ...]:
    """The part of the clip and those of its inputs: level 0 for inputs, level 1 for tokens that are generated.

    `latents` (C, T, H, W) fill the tokens that are generated: in training the clip's own latents, in sampling those
    that noise is added to. `fps` is in frames per second. Raises `ShapeError` for inputs that do not fit the clip.
    """
    clip = whole_clip(config, latents, fps)
    frames, height, width = latents.shape[1:]  # the pixel codec keeps sizes
    check_inputs(inputs, frames, height, width)
    if inputs.source is not None and inputs.mask is not None:
        clip = _masked(config, codec, clip, inputs.source, inputs.mask)
    beside = []
    for segment in inputs.segments:
        if segment.at == 0:
            clip = _begun(config, codec, clip, segment)
        else:
            beside.append(_beside(config, codec, segment, fps))
    return clip, *beside


def reference(config: ModelConfig, codec: Codec, frames: Tensor, fps: float) -> Part:
    """Reference frames (3, t, H, W) in [-1, 1] of a stream, as an input segment that ends where the clip begins."""
    return _beside(config, codec, Segment(frames, -frames.shape[1]), fps)


def made_tokens(config: ModelConfig, mask: Tensor) -> Tensor:
    """A mask of pixels (T, H, W) -> of tokens (T', H', W'), 1.0 where any pixel of the patch is in the mask, else 0."""
    return F.max_pool3d(mask.float()[None, None], config.patch, config.patch)[0, 0]


def _masked(config: ModelConfig, codec: Codec, clip: Part, source: Tensor, mask: Tensor) -> Part:
    """The clip with the source in the patches outside the mask; the mask is filled with grey before encoding."""
    levels = made_tokens(config, mask)
    encoded = codec.encode((source * ~_pixels(config, levels).bool())[None])[0]
    return _overlaid(config, clip, encoded, levels)


def _begun(config: ModelConfig, codec: Codec, clip: Part, segment: Segment) -> Part:
    """The clip with an input segment as its first frames, as far as these fill whole rows of tokens."""
    encoded = codec.encode(segment.video[None])[0]
    rows = encoded.shape[1] // config.patch[0]
    levels = clip.levels.clone()
    levels[:rows] = 0
    padded = F.pad(encoded, (0, 0, 0, 0, 0, clip.latents.shape[1] - encoded.shape[1]))
    return _overlaid(config, clip, padded, levels)


def _overlaid(config: ModelConfig, clip: Part, encoded: Tensor, levels: Tensor) -> Part:
    made = _pixels(config, levels)
    return Part(clip.latents * made + encoded * (1 - made), torch.minimum(clip.levels, levels), clip.times)


def _beside(config: ModelConfig, codec: Codec, segment: Segment, fps: float) -> Part:
    encoded = codec.encode(segment.video[None])[0]
    part = whole_clip(config, encoded, fps)
    times = token_times(config, encoded.shape[1], fps, first=segment.at / fps)
    return Part(part.latents, torch.zeros_like(part.levels), times)


def _pixels(config: ModelConfig, tokens: Tensor) -> Tensor:
    """Values of tokens (T', H', W') for every pixel (T, H, W)."""
    for axis, side in enumerate(config.patch):
        tokens = tokens.repeat_interleave(side, axis)
    return tokens


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


def paste(made: Tensor, inputs: TaskInputs, patch: tuple[int, int, int]) -> Tensor:
    """A generated clip (3, T, H, W) with its inputs pasted in, bit for bit.

    `patch` is (frames, rows, columns). Around a mask the generated pixels fade into the source within half a patch.
    """
    clip = made.clone()
    if inputs.source is not None and inputs.mask is not None:
        share = _faded(inputs.mask, max(patch[1:]))
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

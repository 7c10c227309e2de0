"""Recorded clips at the model's own size beside their own sizes.

Clips keep their aspect ratio, so a size that few of them have would teach a model which of them it belongs to, rather
than what a clip of that size shows. A share of all clips is therefore scaled and cropped to the model's own size.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kinema_dataset.samples import SampleShape
from kinema_model.mixing import given
from kinema_model.source import Clip, Shape, Source


class OwnSizeSource:
    """A `Source` that shows a share of the clips of another at `height` x `width`, spread evenly over positions."""

    def __init__(self, source: Source, height: int, width: int, share: float) -> None:
        self._source, self._size, self._share = source, (height, width), Fraction(share)

    @property
    def digest(self) -> str:
        """`sha256:...` of the other source's digest, the size and the share."""
        parts = [self._source.digest, *self._size, str(self._share)]
        return f"sha256:{sha256(json.dumps(parts).encode()).hexdigest()}"

    def is_resized(self, index: int) -> bool:
        """Whether the clip at a position has the size of this source rather than its own."""
        return given(index + 1, self._share) > given(index, self._share)

    def shape(self, index: int) -> Shape:
        """As `Source.shape`."""
        shape = self._source.shape(index)
        return self._resized(shape) if self.is_resized(index) else shape

    def largest_shapes(self) -> Sequence[Shape]:
        """The largest shapes of the other source, and the longest of them at this size."""
        found = self._source.largest_shapes()
        longest = max(found, key=lambda shape: shape.frames)
        return [*found, self._resized(longest)] if self._share else found

    def clips(self, indices: Sequence[int]) -> Sequence[Clip]:
        """As `Source.clips`."""
        found = self._source.clips(indices)
        return [
            replace(clip, video=covered(clip.video, *self._size)) if self.is_resized(index) else clip
            for index, clip in zip(indices, found, strict=True)
        ]

    def validation(self, count: int) -> Sequence[Clip]:
        """The validation clips of the other source, at their own sizes."""
        return self._source.validation(count)

    def texts(self) -> Iterable[str]:
        """The texts of the other source."""
        return self._source.texts()

    def files(self) -> Mapping[str, str]:
        """The files of the other source."""
        return self._source.files()

    def _resized(self, shape: Shape) -> SampleShape:
        height, width = self._size
        # Made of a shape that was checked, and planning asks for many.
        return SampleShape.model_construct(frames=shape.frames, height=height, width=width, fps=shape.fps)


def covered(video: Tensor, height: int, width: int) -> Tensor:
    """uint8 (T, H, W, 3) -> (T, height, width, 3): scaled until it just covers that size, cropped around the middle."""
    rows, columns = video.shape[1:3]
    if (rows, columns) == (height, width):
        return video
    scale = max(height / rows, width / columns)
    size = (max(height, round(rows * scale)), max(width, round(columns * scale)))
    scaled = interpolate(video.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True, align_corners=False)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    cropped = scaled[:, :, top : top + height, left : left + width]
    return cropped.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

"""Small samples for tests of shards, the index and the source."""

from __future__ import annotations

import torch

from kinema_dataset.records import Segment
from kinema_dataset.samples import About, SampleShape, StoredCaptions
from kinema_dataset.shards import TEXT_SHORT, VIDEO, Sample


def sample(source: int, shot: int = 0, *, frames: int = 3, height: int = 4, width: int = 6) -> Sample:
    """A clip whose pixels and captions follow from its input's number and its shot."""
    pixels = torch.Generator().manual_seed(1000 * source + shot)
    uri = f"s3://bucket/videos/{source:05d}.mp4"
    first = 100 * shot
    about = About(
        segment=Segment(input=uri, first=first, end=first + frames, fps=8, height=2 * height, width=2 * width),
        etag=f"e{source}",
        shape=SampleShape(frames=frames, height=height, width=width, fps=8),
        captions=StoredCaptions(short=f"clip {source}", rich=f"Clip {source}, shot {shot}.", shots=(f"clip {source}",)),
    )
    video = torch.randint(0, 256, (frames, height, width, 3), generator=pixels, dtype=torch.uint8)
    states = torch.randn((2, 3), generator=pixels).to(torch.bfloat16)
    return Sample(about, {VIDEO: video, TEXT_SHORT: states})

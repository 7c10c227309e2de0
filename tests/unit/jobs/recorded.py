"""A small dataset of recorded clips in a folder store, and the run that reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kinema_api.folderstore import FolderStore
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.run import RunConfig
from kinema_dataset.index import finish
from kinema_dataset.records import Segment
from kinema_dataset.samples import About, SampleShape, StoredCaptions
from kinema_dataset.shards import VIDEO, Sample, write_shard
from kinema_jobs.train.data import DatasetAccess
from unit.jobs.rounds import CLIP, config

PREFIX = "datasets/default/clips/"
URI = "s3://kinema/inputs/default/clips/"


@dataclass(frozen=True)
class Recorded:
    """A dataset below PREFIX of a folder store."""

    location: StoreLocation
    digest: str
    cache: Path

    @property
    def folder(self) -> Path:
        return Path(self.location.endpoint.removeprefix("file://")) / self.location.bucket / PREFIX

    def access(self, connect: Callable[[], ObjectStore] | None = None, patience: float = 5.0) -> DatasetAccess:
        return DatasetAccess(connect or partial(FolderStore, self.location), self.cache, 1 << 20, patience)

    def run(self, world: dict[str, Any] | None = None, **data: Any) -> RunConfig:
        told = {"videos": [{"uri": URI}], **data} | ({"world": world} if world is not None else {})
        dataset = {"prefix": PREFIX, "digest": self.digest, "weight": 1}
        return config(data=told, datasets=[dataset], optimization={"steps": 3, "batchTokens": 4 * CLIP, "seed": 1})


def clip(number: int, shot: int) -> Sample:
    """A clip whose brightness follows from its input and shot, so that it can be told from others."""
    first = 100 * shot
    shape = SampleShape(frames=4 + 2 * (number % 3), height=16 + 8 * (number % 2), width=24, fps=8)
    about = About(
        segment=Segment(
            input=f"{URI}{number}.mp4", first=first, end=first + shape.frames, fps=8, height=240, width=360
        ),
        shape=shape,
        captions=StoredCaptions(
            short=f"a river {number}", rich=f"A river, number {number}.", shots=(f"river {number}",)
        ),
    )
    video = torch.full((shape.frames, shape.height, shape.width, 3), 10 * number + shot, dtype=torch.uint8)
    return Sample(about, {VIDEO: video})


def recorded(root: Path, inputs: int = 12) -> Recorded:
    """A dataset of two shots of each input."""
    location = StoreLocation(endpoint=f"file://{root / 'store'}", bucket="kinema")
    folder = root / "store" / "kinema" / PREFIX
    folder.mkdir(parents=True)
    samples = [clip(number, shot) for number in range(inputs) for shot in range(2)]
    shards = [write_shard(folder, samples[at : at + 8]) for at in range(0, len(samples), 8)]
    manifest = finish(folder, [line for shard in shards for line in shard.lines().splitlines()], {})
    return Recorded(location, manifest.digest, root / "cache")

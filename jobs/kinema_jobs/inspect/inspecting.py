"""Reads provenance and watermark of one file: what the process of `python -m kinema_jobs.inspect` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from kinema_jobs.clip.decoding.errors import Unreadable, unreadable
from kinema_jobs.clip.decoding.kinds import HEAD_BYTES, Kind, kind_of
from kinema_jobs.clip.decoding.process import Pixels, Source
from kinema_jobs.inspect.verdict import report
from kinema_model.errors import ShapeError
from kinema_safety.provenance.chain import certificates_in
from kinema_safety.provenance.reading import examine
from kinema_safety.watermark.key_file import parse_keys
from kinema_safety.watermark.reading import Reading, ReadKey, read_frames

LARGEST_SIDE: Final = 4096
RATE: Final = 24.0
"""Frames per second at which a watermark is looked for, whatever the file's are."""
MOST_PIXELS: Final = 1280 * 720
"""Area that larger frames are scaled to."""
MOST_SECONDS: Final = 120
"""How much of a clip is looked at."""


def inspected(file: Path, keys: Path | None, anchors: Path | None) -> dict[str, Any]:

    trusted = anchors.read_bytes() if anchors else b""
    if trusted:
        certificates_in(trusted, "--anchors")
    known = parse_keys(keys.read_text(errors="replace")) if keys else []
    kind = _kind(file)
    provenance = examine(file, _mime(kind), trusted)
    if not known:
        return report(provenance, None, "no: no keys were given")
    if kind.reader == "picture":
        return report(provenance, None, "no: a picture has no time, over which a watermark is spread")
    try:
        return report(provenance, _mark(file, known), "yes")
    except ShapeError as refused:
        return report(provenance, None, f"no: {refused}")


def _kind(file: Path) -> Kind:
    try:
        with file.open("rb") as opened:
            return kind_of("file", opened.read(HEAD_BYTES))
    except OSError as error:
        raise unreadable("file", error.strerror or type(error).__name__) from None
    except Unreadable as error:
        raise unreadable("file", str(error)) from None


def _mime(kind: Kind) -> str:
    if kind.reader == "picture":
        return f"image/{kind.format.lower()}"
    return "video/mp4" if kind.format == "mp4" else "video/webm"


def _mark(file: Path, keys: list[ReadKey]) -> Reading | None:
    source = Source("video", file, LARGEST_SIDE, lambda: False)
    size, _ = source.size()
    frames = source.frames("frames", size, RATE, end=int(MOST_SECONDS * RATE), area=MOST_PIXELS)
    return read_frames(_whole(frames), RATE, keys)


def _whole(frames: Iterator[Pixels]) -> Iterator[Pixels]:
    """Frames up to where the file is damaged: what was changed may still have its mark before that."""
    with suppress(ShapeError):
        yield from frames

"""Reads from an ISO file what FFmpeg does not expose: whether each frame is cropped for display."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_MOOV: Final = 64 << 20
_WAY: Final = (b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_ENTRY_HEAD: Final = 8
"""Version, flags and count of an stsd."""
_VISUAL_HEAD: Final = 78
"""Bytes before the boxes in a VisualSampleEntry."""


def is_cropped(path: Path) -> bool:
    """Whether a video track of an MP4 has a clean aperture (ISO/IEC 14496-12) other than its whole frames."""
    moov = _moov(path)
    return any(_entry_is_cropped(entry) for stsd in _descend(moov, _WAY) for _, entry in _boxes(stsd[_ENTRY_HEAD:]))


def _entry_is_cropped(entry: memoryview) -> bool:
    if len(entry) < _VISUAL_HEAD:
        return False
    width, height = struct.unpack(">HH", entry[24:28])
    for kind, content in _boxes(entry[_VISUAL_HEAD:]):
        if kind == b"clap" and len(content) >= 32:
            numbers = struct.unpack(">8i", content[:32])
            whole = (width * numbers[1], height * numbers[3]) == (numbers[0], numbers[2])
            return not whole or bool(numbers[4] or numbers[6])
    return False


def _moov(path: Path) -> memoryview:
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            skip = length - 8
            if length == 1:
                skip = int.from_bytes(file.read(8), "big") - 16
            if kind == b"moov":
                return memoryview(file.read(min(max(skip, 0), MAX_MOOV)))
            if skip < 0:
                break
            file.seek(skip, 1)
    return memoryview(b"")


def _descend(content: memoryview, way: tuple[bytes, ...]) -> Iterator[memoryview]:
    if not way:
        yield content
        return
    for kind, inner in _boxes(content):
        if kind == way[0]:
            yield from _descend(inner, way[1:])


def _boxes(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    while len(content) >= 8:
        length, kind = struct.unpack(">I4s", content[:8])
        if length < 8:
            return
        yield kind, content[8:length]
        content = content[length:]

"""Starts a decoding process, reads its messages as they come, and kills it when it is no longer needed.

Its messages are not trusted either, since it has read the file: a wrong size or a frame of a wrong length is refused.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from kinema_jobs.clip.decoding.errors import unreadable
from kinema_jobs.clip.decoding.limits import WALL_SECONDS
from kinema_model.errors import SamplingStopped, ShapeError

Pixels = npt.NDArray[np.uint8]
ShouldStop = Callable[[], bool]

_POLL_SECONDS: Final = 0.05
_PIPE_BYTES: Final = 1 << 20
_HEAD: Final = 5
_MAX_WORDS: Final = 4096
_KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "TZ")
"""Environment variables that the process gets; no keys or URLs."""
_SET: Final = {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Source:
    """A file given by a client, and what it may be."""

    name: str
    """Its field of the request: input, end or mask."""
    path: Path
    largest: int
    """The longest side in pixels that is accepted."""
    should_stop: ShouldStop

    def size(self) -> tuple[tuple[int, int], bool]:
        """((height, width), whether it is a clip). Raises `ShapeError` and `SamplingStopped`."""
        for kind, content in self._read("size", 0.0, _MAX_WORDS):
            if kind == b"S":
                height, width, moving = json.loads(content)
                if 0 < height <= self.largest and 0 < width <= self.largest:
                    return (int(height), int(width)), bool(moving)
        raise self._unreadable("it has no size")

    def frames(self, want: Literal["frames", "mask"], size: tuple[int, int], fps: float) -> Iterator[Pixels]:
        """Frames uint8 (H, W, 3) at a rate, or one mask (H, W). Raises `ShapeError` and `SamplingStopped`."""
        shape = size if want == "mask" else (*size, 3)
        length = int(np.prod(shape))
        for kind, content in self._read(want, fps, max(length, _MAX_WORDS)):
            if kind == b"F":
                if len(content) != length:
                    raise self._unreadable("frames of different sizes")
                yield np.frombuffer(content, np.uint8).reshape(shape)

    def _read(self, want: str, fps: float, most: int) -> Iterator[tuple[bytes, bytearray]]:
        """The messages up to the end. Raises `ShapeError` for a refusal and for a process that hit a limit."""
        request = {"want": want, "name": self.name, "path": str(self.path), "largest": self.largest, "fps": fps}
        with _started(json.dumps(request).encode()) as process:
            try:
                pipe = _Pipe(process, self.should_stop)
                while head := pipe.take(_HEAD):
                    kind, length = bytes(head[:1]), int.from_bytes(head[1:], "big")
                    if length > most:
                        break
                    content = pipe.take(length)
                    if kind == b"R":
                        raise ShapeError(content.decode(errors="replace"))
                    if kind == b"E":
                        return
                    yield kind, content
            except _TooLong:
                raise self._unreadable(f"it takes longer than {WALL_SECONDS} s") from None
            finally:
                process.kill()
        raise self._unreadable("it takes too much memory or time")

    def _unreadable(self, why: str) -> ShapeError:
        return ShapeError(str(unreadable(self.name, why)))


class _TooLong(Exception):
    """The process did not end in time."""


class _Pipe:
    """Reads a process' output without blocking for longer than a moment."""

    def __init__(self, process: subprocess.Popen[bytes], should_stop: ShouldStop) -> None:
        assert process.stdout is not None
        self._file = process.stdout.fileno()
        self._should_stop = should_stop
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)
        self._deadline = time.monotonic() + WALL_SECONDS

    def take(self, length: int) -> bytearray:
        """The next bytes; none at the end. Raises `SamplingStopped` and `_TooLong`."""
        taken = bytearray(length)
        view, filled = memoryview(taken), 0
        while filled < length:
            if self._should_stop():
                raise SamplingStopped("Stopped while reading an input.")
            if time.monotonic() > self._deadline:
                raise _TooLong
            if self._poll.poll(_POLL_SECONDS * 1000):
                got = os.readv(self._file, [view[filled:]])
                if not got:
                    return bytearray()
                filled += got
        return taken


def _started(request: bytes) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | _SET
    # Only the package's own folder, however it became importable here.
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "kinema_jobs.clip.decoding"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        pipesize=_PIPE_BYTES,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(request)
        process.stdin.close()
    except BrokenPipeError:
        pass  # it has ended; its messages, or their absence, give the reason
    return process

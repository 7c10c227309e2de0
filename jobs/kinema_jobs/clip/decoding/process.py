"""Starts a decoding process, reads its messages as they come, and kills it when it is no longer needed.

Its messages are not trusted either, since it has read the file: a wrong size or a frame of a wrong length is refused.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kinema_jobs.clip.decoding.errors import Reason, unreadable
from kinema_jobs.clip.decoding.limits import REQUEST, Limits
from kinema_jobs.clip.decoding.sizes import scaled
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


class InputRefused(ShapeError):
    """A file is refused; `reason` is what it is counted by."""

    def __init__(self, sentence: str, reason: Reason) -> None:
        super().__init__(sentence)
        self.reason = reason


class DecoderKilled(InputRefused):
    """The process was killed by another one: as a rule by the kernel, since the container has too little memory."""


class Probed(BaseModel):
    """What a decoding process tells of a file: its size as displayed, and a clip's rate and length, 0 if not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    fps: Annotated[float, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]
    moving: bool


@dataclass(frozen=True)
class Source:
    """A file given by a client, and what it may be."""

    name: str
    """Its field of the request (input, end or mask), or video or picture."""
    path: Path
    largest: int
    """The longest side in pixels that is accepted."""
    should_stop: ShouldStop
    limits: Limits = REQUEST

    def size(self) -> tuple[tuple[int, int], bool]:
        """((height, width), whether it is a clip). Raises `ShapeError` and `SamplingStopped`."""
        for kind, content in self._read("size", 0.0, _MAX_WORDS):
            if kind == b"S":
                height, width, moving = json.loads(content)
                if 0 < height <= self.largest and 0 < width <= self.largest:
                    return (int(height), int(width)), bool(moving)
        raise self._unreadable("it has no size")

    def probe(self) -> Probed:
        """What its headers and first frame tell. Raises as `size`."""
        for kind, content in self._read("probe", 0.0, _MAX_WORDS):
            if kind == b"P":
                try:
                    found = Probed.model_validate_json(bytes(content))
                except ValidationError:
                    raise self._unreadable("its headers make no sense") from None
                if max(found.height, found.width) <= self.largest:
                    return found
        raise self._unreadable("it has no size")

    def frames(
        self,
        want: Literal["frames", "mask"],
        size: tuple[int, int],
        fps: float,
        first: int = 0,
        end: int | None = None,
        area: int | None = None,
    ) -> Iterator[Pixels]:
        """Frames uint8 (H, W, 3) at a rate, or one mask (H, W), of the file's `size`.

        Frames `first` to before `end` at that rate, scaled down to about `area` pixels (see `sizes.scaled`).
        Raises `ShapeError` and `SamplingStopped`.
        """
        size = scaled(*size, area)
        shape = size if want == "mask" else (*size, 3)
        length = int(np.prod(shape))
        for kind, content in self._read(want, fps, max(length, _MAX_WORDS), first, end, area):
            if kind == b"F":
                if len(content) != length:
                    raise self._unreadable("frames of different sizes")
                yield np.frombuffer(content, np.uint8).reshape(shape)

    def _read(
        self, want: str, fps: float, most: int, first: int = 0, end: int | None = None, area: int | None = None
    ) -> Iterator[tuple[bytes, bytearray]]:
        """The messages up to the end. Raises `InputRefused` for a refusal and for a process that hit a limit."""
        request = {"want": want, "name": self.name, "path": str(self.path), "largest": self.largest, "fps": fps}
        request |= {"first": first, "end": end, "area": area, "limits": asdict(self.limits)}
        with _started(json.dumps(request).encode()) as process:
            try:
                pipe = _Pipe(process, self.should_stop, self.limits.wall_seconds)
                while head := pipe.take(_HEAD):
                    kind, length = bytes(head[:1]), int.from_bytes(head[1:], "big")
                    if length > most:
                        break
                    content = pipe.take(length)
                    if kind == b"R":
                        reason, _, sentence = content.decode(errors="replace").partition("\n")
                        raise InputRefused(sentence, Reason(reason) if reason in set(Reason) else Reason.DAMAGED)
                    if kind == b"E":
                        return
                    yield kind, content
                if not head and process.wait() == -signal.SIGKILL:
                    raise DecoderKilled(str(unreadable(self.name, "it takes too much memory")), Reason.LIMIT)
            except _TooLong:
                raise self._unreadable(f"it takes longer than {self.limits.wall_seconds:g} s", Reason.LIMIT) from None
            finally:
                process.kill()
        raise self._unreadable("it takes too much memory or time", Reason.LIMIT)

    def _unreadable(self, why: str, reason: Reason = Reason.DAMAGED) -> InputRefused:
        return InputRefused(str(unreadable(self.name, why)), reason)


class _TooLong(Exception):
    """The process did not end in time."""


class _Pipe:
    """Reads a process' output without blocking for longer than a moment."""

    def __init__(self, process: subprocess.Popen[bytes], should_stop: ShouldStop, seconds: float) -> None:
        assert process.stdout is not None
        self._file = process.stdout.fileno()
        self._should_stop = should_stop
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)
        self._deadline = time.monotonic() + seconds

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

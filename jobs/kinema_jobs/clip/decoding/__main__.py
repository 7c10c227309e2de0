"""The decoding process: one file, one request on standard input, messages on standard output.

A message is a letter, its length in 4 bytes, and its content: S the size as JSON, F the pixels of a frame or a mask,
R the message that refuses the file, E the end. A process that ends without R or E has hit a limit.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kinema_jobs.clip.decoding.errors import Refused, Unreadable, unreadable
from kinema_jobs.clip.decoding.limits import confine


def main() -> int:
    """Answer the one request. Exit code 0 also for a file that is refused."""
    confine()
    request = json.loads(sys.stdin.buffer.read())
    name = str(request["name"])
    try:
        for kind, content in _answer(name, request):
            _say(kind, content)
        _say(b"E", b"")
    except Refused as refusal:
        _say(b"R", str(refusal).encode())
    except Unreadable as error:
        _say(b"R", str(unreadable(name, str(error))).encode())
    except MemoryError:
        _say(b"R", str(unreadable(name, "it takes too much memory")).encode())
    return 0


def _answer(name: str, request: dict[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    # Imported after the limits are set, so that they apply to the decoders.
    from kinema_jobs.clip.decoding import clips, pictures
    from kinema_jobs.clip.decoding.kinds import HEAD_BYTES, kind_of

    path, largest = Path(request["path"]), int(request["largest"])
    try:
        with path.open("rb") as file:
            kind = kind_of(name, file.read(HEAD_BYTES))
    except OSError as error:
        raise Unreadable(error.strerror or type(error).__name__) from None
    if kind.reader == "clip":
        if name == "mask":
            raise Refused("The mask is a clip. Give a PNG, JPEG or WebP, white where the clip is to be regenerated.")
        clip = clips.Clip(name, path, kind.format, largest)
        if request["want"] == "size":
            yield b"S", json.dumps([*clip.size(), True]).encode()
            return
        for shown in clip.at_rate(float(request["fps"])):
            yield b"F", shown.tobytes()
    elif request["want"] == "size":
        height, width = pictures.shown_size(pictures.open_picture(name, path, kind.format, largest))
        yield b"S", json.dumps([height, width, False]).encode()
    else:
        read = pictures.mask if request["want"] == "mask" else pictures.frame
        yield b"F", read(name, path, kind.format, largest).tobytes()


def _say(kind: bytes, content: bytes) -> None:
    out = sys.stdout.buffer
    out.write(kind + struct.pack(">I", len(content)))
    out.write(content)
    out.flush()


if __name__ == "__main__":
    sys.exit(main())

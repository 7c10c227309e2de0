"""The decoding process: one file, one request on standard input, messages on standard output.

A message is a letter, its length in 4 bytes, and its content: S the size as JSON, P what is known of a clip as JSON, F
the pixels of a frame or a mask, R the reason and the message that refuse the file, E the end. A process that ends
without R or E has hit a limit.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kinema_jobs.clip.decoding.errors import Refused, Unreadable, unreadable
from kinema_jobs.clip.decoding.limits import Limits, confine


def main() -> int:
    """Answer the one request. Exit code 0 also for a file that is refused."""
    request = json.loads(sys.stdin.buffer.read())
    confine(int(request["limits"]["cpu_seconds"]))
    name = str(request["name"])
    try:
        for kind, content in _answer(name, request):
            _say(kind, content)
        _say(b"E", b"")
    except Refused as refusal:
        _refuse(refusal)
    except Unreadable as error:
        _refuse(unreadable(name, str(error)))
    except MemoryError:
        _refuse(unreadable(name, "it takes too much memory"))
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
        clip = clips.Clip(name, path, kind.format, largest, Limits(**request["limits"]))
        if request["want"] == "size":
            yield b"S", json.dumps([*clip.size(), True]).encode()
        elif request["want"] == "probe":
            yield b"P", json.dumps({**asdict(clip.probe()), "moving": True}).encode()
        else:
            for shown in clip.at_rate(float(request["fps"]), request["first"], request["end"], request["area"]):
                yield b"F", shown.tobytes()
        return
    height, width = pictures.shown_size(pictures.open_picture(name, path, kind.format, largest))
    if request["want"] == "size":
        yield b"S", json.dumps([height, width, False]).encode()
    elif request["want"] == "probe":
        known = {"height": height, "width": width, "fps": 0.0, "seconds": 0.0, "moving": False}
        yield b"P", json.dumps(known).encode()
    elif request["want"] == "mask":
        yield b"F", pictures.mask(name, path, kind.format, largest).tobytes()
    else:
        yield b"F", pictures.frame(name, path, kind.format, largest, request["area"]).tobytes()


def _refuse(refusal: Refused) -> None:
    _say(b"R", f"{refusal.reason}\n{refusal}".encode())


def _say(kind: bytes, content: bytes) -> None:
    out = sys.stdout.buffer
    out.write(kind + struct.pack(">I", len(content)))
    out.write(content)
    out.flush()


if __name__ == "__main__":
    sys.exit(main())

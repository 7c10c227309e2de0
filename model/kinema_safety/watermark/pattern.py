"""The pattern: which phase each cell of the tile has, what of it is public and what depends on key and payload.

A frame is divided into cells, and the cells of a tile of 64 x 64 repeat over it. Each cell's brightness goes up and
down `CYCLES_PER_SECOND` times a second with a phase of its own: a public one (the template, by which a reader finds
scale, place and time), turned forward or back by `TURN` for the payload. A key draws the sign of each cell, so that
without it the payload is noise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_safety.watermark.convolution import CODED_BITS, Floats, bits_of, encode
from kinema_safety.watermark.payload import check_key

Complex = npt.NDArray[np.complex64]

TILE: Final = 64
"""Cells along a side of the tile."""
CYCLES_PER_SECOND: Final = 3.0
TURN: Final = np.pi / 3
"""cos(TURN)^2, a quarter of the energy, is the template's; the rest is the payload's."""
_BLOCK: Final = 16
"""Cells along a side of a block that holds each coded bit once, so that any part of a frame holds all of them."""
_PHASES: Final = 8


@dataclass(frozen=True)
class PatternKey:
    """What the server embeds with: a secret of at least 16 bytes, and its name, which is no secret."""

    key_id: str
    secret: bytes

    def __post_init__(self) -> None:
        """Raise `WatermarkRefused` if the secret is too short."""
        check_key("pattern", self.secret)


@cache
def template() -> Complex:
    """The public phases of the tile, complex64 (64, 64) on the unit circle; read only."""
    steps = np.frombuffer(_stream(b"template", TILE * TILE), np.uint8) % _PHASES
    made = np.asarray(np.exp(2j * np.pi * steps / _PHASES), np.complex64).reshape(TILE, TILE)
    made.flags.writeable = False
    return made


@cache
def coded_bit() -> npt.NDArray[np.int64]:
    """Which of the 256 coded bits each cell of the tile carries, (64, 64); read only."""
    blocks = TILE // _BLOCK
    draws = np.frombuffer(_stream(b"places", 4 * TILE * TILE), np.uint32).reshape(blocks, blocks, CODED_BITS)
    made = draws.argsort(axis=2, kind="stable").reshape(blocks, blocks, _BLOCK, _BLOCK)
    made = np.ascontiguousarray(made.transpose(0, 2, 1, 3).reshape(TILE, TILE))
    made.flags.writeable = False
    return made


def signs(secret: bytes) -> Floats:
    """The key's sign of each cell of the tile, float32 (64, 64), +1 or -1."""
    stream = np.frombuffer(_stream(b"signs\0" + secret, TILE * TILE // 8), np.uint8)
    return (1 - 2 * np.unpackbits(stream).astype(np.float32)).reshape(TILE, TILE)


def phases(payload: int, key: PatternKey) -> Complex:
    """The tile with a payload, complex64 (64, 64) on the unit circle."""
    coded = encode(bits_of(payload)[None])[0]
    turned = TURN * signs(key.secret) * coded[coded_bit()]
    return np.asarray(template() * np.exp(1j * turned), np.complex64)


def _stream(label: bytes, length: int) -> bytes:
    return hashlib.shake_256(b"kinema watermark pattern 1\0" + label).digest(length)

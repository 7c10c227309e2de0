"""Reads the payload of a watermark out of frames, with one or several keys.

Three things must hold before anything is reported: the template is found, the soft bits agree with a codeword
(`AGREEMENT`), and the payload's code of 24 bits is right. `false_positive_rate` is the arithmetic of the last two,
which holds whatever the frames show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinema_safety.watermark.convolution import CODED_BITS, Bits, Floats, decode, encode, payload_in
from kinema_safety.watermark.demodulation import Demodulator, Video, equalised
from kinema_safety.watermark.pattern import CYCLES_PER_SECOND, TILE, Complex, PatternKey, coded_bit, signs, template
from kinema_safety.watermark.payload import MAC_BITS, PAYLOAD_BITS, check, check_key
from kinema_safety.watermark.synchronisation import SCALES, Lock, cells_of, search

AGREEMENT: Final = 0.6
"""Least cosine between soft bits and the codeword that they were decoded to; without a mark it is about 0.5."""
WINDOW_SECONDS: Final = 4.0
MIN_FRAMES: Final = 8
MIN_SIDE: Final = 64
"""Rows and columns below which no template is looked for."""
SCANNED_WINDOWS: Final = 2
"""Windows in which all scales are tried; a clip that shows nothing there is only read at its usual scale from then
on."""
SPEEDS: Final = (1.0, 24 / 25, 25 / 24, 24 / 30, 30 / 24, 25 / 30, 30 / 25, 0.5, 2.0)
"""Rates of the mark over the usual one that are tried: a clip may be played faster or slower than it was made. For
others than 1 the clip must be whole."""


@dataclass(frozen=True)
class ReadKey:
    """What a reader needs: the pattern, and the key of the payload's code."""

    pattern: PatternKey
    mac: bytes

    def __post_init__(self) -> None:
        """Raise `WatermarkRefused` if the key of the code is too short."""
        check_key("mac", self.mac)


@dataclass(frozen=True)
class Reading:
    """A payload that was read."""

    payload: int
    clip_id: int
    key_id: str
    agreement: float
    """Cosine between soft bits and codeword, `AGREEMENT` to 1."""
    lock: Lock


def read(video: Video, fps: float, keys: Sequence[ReadKey]) -> Reading | None:
    """The watermark in a clip uint8 (T, H, W, 3), or None. See `read_frames`."""
    return read_frames(iter(video), fps, keys)


def read_frames(frames: Iterable[Video], fps: float, keys: Sequence[ReadKey]) -> Reading | None:
    """The watermark in frames uint8 (H, W, 3) of one size, read window by window, or None.

    Ends as soon as a window, or all windows so far together, give a payload. Memory is that of a few frames.
    """
    total = np.zeros((TILE, TILE), np.complex64)
    known: float | None = None
    for number, window in enumerate(windows(frames, fps)):
        found = locked(window, known, scan=number < SCANNED_WINDOWS)
        if found is None:
            continue
        tile, lock = found
        known, total = lock.size, total + tile
        if reading := _read_tile(total, lock, keys) or _read_tile(tile, lock, keys):
            return reading
    return None


def windows(frames: Iterable[Video], fps: float) -> Iterator[Demodulator]:
    """Windows of time, one after another."""
    whole = max(2, round(WINDOW_SECONDS * fps))
    rates = tuple(CYCLES_PER_SECOND * speed for speed in SPEEDS if 2 * CYCLES_PER_SECOND * speed < fps)
    window: Demodulator | None = None
    for pixels in frames:
        if window is not None and window.frames == whole:
            yield window
            window = None
        window = window or Demodulator(pixels.shape[:2], fps, rates)
        window.add(pixels)
    if window is not None:
        yield window


def locked(window: Demodulator, known: float | None, *, scan: bool) -> tuple[Complex, Lock] | None:
    """The tile of a window, turned so that the template is real, and where it was found; the likeliest is tried first.

    `known` is the cell size of another window of the clip; with `scan`, all scales are tried.
    """
    if window.frames < MIN_FRAMES or min(window.shape) < MIN_SIDE:
        return None
    for rate, size, scales in _trials(window, known, scan=scan):
        plane = equalised(window.plane(rate), size)
        if lock := search(plane, size, scales):
            tile = cells_of(plane, lock) * template().conj()
            return np.asarray(tile * np.exp(-1j * np.angle(tile.sum())), np.complex64), lock
    return None


def _trials(window: Demodulator, known: float | None, *, scan: bool) -> Iterator[tuple[int, float, tuple[float, ...]]]:
    """Number of a rate, cell size in pixels of the plane, and scales around it."""
    if known is not None:
        yield 0, known, (1.0,)
    yield from ((0, size, (1.0,)) for size in window.cells)
    if scan and known is None:
        yield from ((0, size, SCALES[::step]) for step, size in enumerate(window.cells, 1))
    yield from ((rate, size, (1.0,)) for rate in range(1, window.rates) for size in window.cells)


def _read_tile(tile: Complex, lock: Lock, keys: Sequence[ReadKey]) -> Reading | None:
    if not keys:
        return None
    soft = np.stack([soft_bits(tile, signs(key.pattern.secret)) for key in keys])
    bits, agreements = decoded(soft)
    for key, word, agreement in zip(keys, bits, agreements.tolist(), strict=True):
        payload = payload_in(word)
        clip_id = check(payload, key.mac) if agreement >= AGREEMENT else None
        if clip_id is not None:
            return Reading(payload, clip_id, key.pattern.key_id, agreement, lock)
    return None


def soft_bits(tile: Complex, key_signs: Floats) -> Floats:
    """256 soft values of a tile whose template is real: the payload is what stands at right angles to it."""
    return np.bincount(coded_bit().ravel(), (tile.imag * key_signs).ravel(), CODED_BITS).astype(np.float32)


def decoded(soft: Floats) -> tuple[Bits, Floats]:
    """Bits (N, 64) of soft values (N, 256), and the cosine (N,) between these and the codeword."""
    bits = decode(soft)
    lengths = np.linalg.norm(soft, axis=1) * math.sqrt(CODED_BITS)
    return bits, np.asarray((soft * encode(bits)).sum(1) / np.maximum(lengths, 1e-12), np.float32)


def false_positive_rate(checks: int) -> float:
    """Upper bound of the probability that a clip without the mark is read as one with it, in that many decodings.

    A key's random signs make the direction of the 256 soft values uniform. One codeword is then within the angle
    acos(AGREEMENT) with at most half of (1 - AGREEMENT^2)^(255/2) (a spherical cap); there are 2^64 codewords, and the
    code of the one that is decoded is right by chance once in 2^24.
    """
    cap = 0.5 * (1 - AGREEMENT**2) ** ((CODED_BITS - 1) / 2)
    return float(checks * min(1.0, 2.0**PAYLOAD_BITS * cap) * 2.0**-MAC_BITS)

"""The error-correcting code: a tail-biting convolutional code of rate 1/4 and memory 8, decoded from soft values.

Generators 463, 535, 733, 745 (octal), free distance 24: Larsen, IEEE Trans. Inf. Theory 19 (1973), table III.
Tail-biting (Ma and Wolf, IEEE Trans. Commun. 34 (1986)) needs no bits to end in a known state, so 64 bits become
exactly 256. The decoder is Viterbi's, run around the circle three times, of which the middle one counts.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_safety.watermark.payload import PAYLOAD_BITS

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]

GENERATORS: Final = (0o463, 0o535, 0o733, 0o745)
MEMORY: Final = 8
RATE: Final = len(GENERATORS)
CODED_BITS: Final = RATE * PAYLOAD_BITS
_STATES: Final = 1 << MEMORY
_ROUNDS: Final = 3


def _trellis() -> tuple[npt.NDArray[np.int64], Floats]:
    """Predecessors (states, 2) of each state, and signs (states, 2, 4) that are sent on the way from them.

    A register holds the newest bit on top; a state is its upper 8 of 9 bits.
    """
    state = np.arange(_STATES)[:, None]
    lost = np.arange(2)[None, :]
    register = state << 1 | lost
    before = register & (_STATES - 1)
    parity = np.array([[[(int(r) & g).bit_count() & 1 for g in GENERATORS] for r in row] for row in register])
    return before, (1 - 2 * parity).astype(np.float32)


_BEFORE, _SIGNS = _trellis()
_BRANCHES: Final = np.ascontiguousarray(_SIGNS.reshape(2 * _STATES, RATE).T)


def encode(bits: Bits) -> Floats:
    """Signs (N, 256), each +1 or -1, of bits (N, 64)."""
    count, length = bits.shape
    register = np.zeros((count, length), np.int64)
    for lag in range(MEMORY + 1):
        register |= np.roll(bits, lag, axis=1).astype(np.int64) << (MEMORY - lag)
    return np.asarray(_SIGNS[register >> 1, register & 1].reshape(count, length * RATE))


def decode(soft: Floats) -> Bits:
    """The most likely bits (N, 64) of soft values (N, 256), positive for +1; their scale does not matter."""
    count, length = len(soft), soft.shape[1] // RATE
    steps = soft.reshape(count, length, RATE)
    metric = np.zeros((count, _STATES), np.float32)
    choices = np.empty((_ROUNDS * length, count, _STATES), np.bool_)
    for step in range(_ROUNDS * length):
        gain = (steps[:, step % length] @ _BRANCHES).reshape(count, _STATES, 2)
        first, second = (metric[:, _BEFORE[:, way]] + gain[:, :, way] for way in (0, 1))
        np.greater(second, first, out=choices[step])
        metric = np.maximum(first, second)
    return _traced(choices, metric.argmax(axis=1), length)


def _traced(choices: npt.NDArray[np.bool_], state: npt.NDArray[np.int64], length: int) -> Bits:
    """Bits of the middle round on the way that ends in `state` (N,)."""
    bits = np.empty((len(choices), len(state)), np.uint8)
    row = np.arange(len(state))
    for step in range(len(choices) - 1, -1, -1):
        bits[step] = state >> (MEMORY - 1)
        state = _BEFORE[state, choices[step, row, state].astype(np.int64)]
    return np.ascontiguousarray(bits[length : 2 * length].T)


def bits_of(payload: int) -> Bits:
    """Bits (64,) of a payload, the highest first."""
    return np.unpackbits(np.frombuffer(payload.to_bytes(PAYLOAD_BITS // 8, "big"), np.uint8))


def payload_in(bits: Bits) -> int:
    """The payload of bits (64,)."""
    return int.from_bytes(np.packbits(bits).tobytes(), "big")

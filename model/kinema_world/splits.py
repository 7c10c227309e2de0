"""What is held out of training, chosen by a hash, so that it is the same in every process and version.

Two things are held out: combinations of colour, shape and motion (about one in eight), and bands of speed: two
strictly inside the range that training shows, and all that lies beyond it. Single colours, shapes, motions and
speed words all remain in training.
"""

from hashlib import blake2s
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from kinema_world.vocabulary import BEYOND, SPEEDS, Motion, Range

Split = Literal["all", "train", "held-out"]
_ONE_IN: Final = 8
_BANDS_PER_WORD: Final = 4
_BANDS_INSIDE: Final = 2


def _digest(text: str) -> int:
    return int.from_bytes(blake2s(text.encode(), digest_size=8).digest(), "big")


def _bands() -> tuple[Range, ...]:
    edges: list[Range] = []
    for low, high in SPEEDS.values():
        steps = np.geomspace(low, high, _BANDS_PER_WORD + 1)
        edges += [(float(a), float(b)) for a, b in pairwise(steps)]
    return (*edges, BEYOND)


# Speeds in shorter sides per second, ascending; the last one lies beyond what training shows.
BANDS: Final = _bands()


def _held_out_bands() -> frozenset[int]:
    inner = sorted(range(1, len(BANDS) - 2), key=lambda band: _digest(f"speed band {band}"))
    return frozenset([*inner[:_BANDS_INSIDE], len(BANDS) - 1])


HELD_OUT_BANDS: Final = _held_out_bands()


def combination_held_out(colour: str, shape: str, motion: Motion, heading: str | None) -> bool:
    """Whether training never shows this colour and shape in this motion."""
    return _digest(f"{colour} {shape} {motion} {heading or '-'}") % _ONE_IN == 0


def speed_held_out(speed: float) -> bool:
    """Whether training never shows this speed, in shorter sides per second."""
    return any(BANDS[band][0] <= speed <= BANDS[band][1] for band in HELD_OUT_BANDS)


def fits(split: Split, combinations: list[bool], speeds: list[bool]) -> bool:
    """Whether a scene belongs to a split, from which of its combinations and speeds are held out."""
    held_out = any(combinations) or any(speeds)
    return split == "all" or held_out == (split == "held-out")

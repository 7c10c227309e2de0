"""In which order clips come: shuffled anew in each epoch, by a permutation that is computed and never stored."""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

# Four rounds with random functions look random (Luby and Rackoff 1988, SIAM J. Comput. 17(2)); these are weaker.
_ROUNDS: Final = 6
_WORD: Final = (1 << 64) - 1


def shuffled(position: int, count: int, seed: int, epoch: int) -> int:
    """Where a seeded permutation of range(count) takes `position`; each epoch has another one.

    A Feistel network permutes the next larger power of four, and is applied again while it leaves the range ("cycle
    walking": Black and Rogaway 2002, CT-RSA), fewer than four times on average.
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = _keys(seed, epoch)
    while True:
        left, right = position >> half, position & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & mask)
        position = left << half | right
        if position < count:
            return position


def fraction(name: str) -> float:
    """A number in [0, 1) that follows from a name alone, uniform over names."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "little") / (1 << 48)


@lru_cache(maxsize=64)
def _keys(seed: int, epoch: int) -> tuple[int, ...]:
    """A key for each round."""
    drawn = blake2b(f"{seed} {epoch}".encode(), digest_size=8 * _ROUNDS).digest()
    return tuple(int.from_bytes(drawn[at : at + 8], "little") for at in range(0, len(drawn), 8))


def _mixed(number: int) -> int:
    """64 bits, each of which depends on all of the number: the finisher of SplitMix64 (Steele et al. 2014)."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _WORD
    return number ^ (number >> 31)

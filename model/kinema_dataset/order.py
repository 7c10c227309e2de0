"""In which order clips come: shuffled anew in each epoch, by a permutation that is computed and never stored."""

from hashlib import blake2b
from typing import Final

_ROUNDS: Final = 4
# So many with random round functions look random: Luby and Rackoff 1988, SIAM J. Comput. 17(2).


def shuffled(position: int, count: int, seed: int, epoch: int) -> int:
    """Where a seeded permutation of range(count) takes `position`; each epoch has another one.

    A Feistel network permutes the next larger power of four, and is applied again while it leaves the range ("cycle
    walking": Black and Rogaway 2002, CT-RSA), fewer than four times on average.
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    key = seed.to_bytes(16, "little", signed=True) + epoch.to_bytes(8, "little")
    while True:
        left, right = position >> half, position & mask
        for turn in range(_ROUNDS):
            mixed = blake2b(right.to_bytes(8, "little"), key=key, digest_size=8, salt=bytes([turn])).digest()
            left, right = right, left ^ (int.from_bytes(mixed, "little") & mask)
        position = left << half | right
        if position < count:
            return position


def fraction(name: str) -> float:
    """A number in [0, 1) that follows from a name alone, uniform over names."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "little") / (1 << 48)

"""Which rank computes which samples of a step, so that no rank waits long for another.

The shares depend on the step and the number of ranks alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace
from typing import Final

from kinema_model.errors import ConfigError

# Slowest rank over the mean that needs no more work on it.
_CLOSE: Final = 1.001
_LEAST_GAIN: Final = 1e-6


@dataclass(frozen=True)
class Load:
    """The cost of a sample: its tokens, and the FLOPs of its forward and backward pass."""

    sample: int
    tokens: int
    flops: float


def share(loads: Sequence[Load], ranks: int) -> list[list[Load]]:
    """The samples of a step for each rank, such that the slowest rank has little more FLOPs than the mean.

    Longest first to the least loaded (Graham 1969, SIAM J. Appl. Math. 17), then moves and exchanges that relieve the
    slowest rank, until none does or it is close to the mean. Fewer samples than ranks leave ranks without any.
    Raises `ConfigError` for fewer than one rank.
    """
    if ranks < 1:
        raise ConfigError(f"A step cannot be shared among {ranks} ranks. Give at least 1.")
    shares: list[list[Load]] = [[] for _ in range(ranks)]
    lightest = [(0.0, rank) for rank in range(ranks)]
    for load in sorted(loads, key=lambda each: (-each.flops, each.sample)):
        work, rank = lightest[0]
        shares[rank].append(load)
        heapreplace(lightest, (work + load.flops, rank))
    enough = _CLOSE * _work(loads) / ranks
    while _relieve(shares, enough):
        pass
    return [sorted(mine, key=lambda each: each.sample) for mine in shares]


def _work(mine: Sequence[Load]) -> float:
    return sum(load.flops for load in mine)


def _relieve(shares: list[list[Load]], enough: float) -> bool:
    """Move a sample from the slowest rank, or exchange it for a smaller one; False if it is fast enough or none can."""
    slow, *others = sorted(shares, key=_work, reverse=True)
    if _work(slow) <= enough:
        return False
    for other in reversed(others):
        half = (_work(slow) - _work(other)) / 2
        given, taken = min(
            ((given, taken) for given in slow for taken in (*other, None)),
            key=lambda pair: abs(half - _relief(*pair)),
        )
        # A least gain is required, so that rounding cannot make two ranks exchange samples for ever.
        if abs(half - _relief(given, taken)) < (1 - _LEAST_GAIN) * half:
            slow.remove(given)
            other.append(given)
            if taken is not None:
                other.remove(taken)
                slow.append(taken)
            return True
    return False


def _relief(given: Load, taken: Load | None) -> float:
    return given.flops - (taken.flops if taken is not None else 0)

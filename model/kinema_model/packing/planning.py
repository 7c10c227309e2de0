"""Which samples make a step, and which rank computes which: a fixed budget of tokens, filled by clips of any shape.

What a step holds follows from the stream of samples alone. How a step is shared out follows from the step and the
number of ranks. So a run that was interrupted or resized takes the same steps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapreplace
from itertools import chain, count, islice
from math import prod
from typing import TYPE_CHECKING, Final, Self

from kinema_model.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from kinema_model.source import Shape

LOOK_AHEAD: Final = 16
STATE_NUMBERS: Final = 1 + LOOK_AHEAD
_REMEMBERED: Final = 4096
# Slowest rank over the mean that needs no more work on it.
_CLOSE: Final = 1.001
_LEAST_GAIN: Final = 1e-6


@dataclass(frozen=True)
class Load:
    """What a sample costs: tokens, and FLOPs of its share of a training step."""

    sample: int
    tokens: int
    flops: float


@dataclass(frozen=True)
class StreamState:
    """How far the stream is taken: every id below `following` but the `skipped` ones."""

    following: int = 0
    skipped: tuple[int, ...] = ()

    def to_numbers(self) -> list[int]:
        """`STATE_NUMBERS` numbers, however many are skipped, as a checkpoint wants them: the rest is -1."""
        return [self.following, *self.skipped, *[-1] * (LOOK_AHEAD - len(self.skipped))]

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> Self:
        """Raises `ConfigError` for what `to_numbers` did not write."""
        following, *others = numbers or [-1]
        skipped = tuple(each for each in others if each != -1)
        if len(numbers) != STATE_NUMBERS or following < 0 or not all(0 <= each < following for each in skipped):
            raise ConfigError(f"{list(numbers)} is no place in a stream of samples. Resume from another checkpoint.")
        return cls(following, skipped)

    @property
    def taken(self) -> int:
        """Samples that steps have taken."""
        return self.following - len(self.skipped)


class StepPlanner:
    """Fills steps of `budget` tokens with samples in id order, where `tokens(id)` tells a sample's size.

    A step takes samples in order as long as they fit. Then, among the next `look_ahead`, it takes those that fill what
    is left best. Samples passed over come first in the next step and are all taken there, since together
    they are no larger than the budget. Nothing depends on the number of ranks.
    """

    def __init__(self, tokens: Callable[[int], int], budget: int, *, look_ahead: int = LOOK_AHEAD) -> None:
        if budget < 1 or not 1 <= look_ahead <= LOOK_AHEAD:
            raise ConfigError(
                f"A budget of {budget} tokens and {look_ahead} samples ahead make no step. "
                f"Give at least 1 of each, and look at most {LOOK_AHEAD} ahead."
            )
        # A sample is asked for again by each step that could take it.
        self._tokens = lru_cache(maxsize=_REMEMBERED)(tokens)
        self.budget = budget
        self.look_ahead = look_ahead

    def plan(self, state: StreamState) -> tuple[tuple[int, ...], StreamState]:
        """Ids of the next step's samples, ascending but for skipped ones, which come first; and where that leaves off.

        Raises:
            ShapeError: a sample is larger than the budget.
        """
        stream = chain(state.skipped, count(state.following))
        taken: list[int] = []
        room = self.budget
        for sample in stream:
            if self._size(sample) > room:
                break
            taken.append(sample)
            room -= self._size(sample)
        ahead = self._ahead(chain([sample], stream))
        chosen = set(_fill([self._size(each) for each in ahead], room))
        taken += [each for place, each in enumerate(ahead) if place in chosen]
        following = max(state.following, *(each + 1 for each in taken))
        gone = set(taken)
        left = tuple(each for each in (*state.skipped, *range(state.following, following)) if each not in gone)
        return tuple(taken), StreamState(following, left)

    def _size(self, sample: int) -> int:
        size = self._tokens(sample)
        if size < 1:
            raise ShapeError(f"Sample {sample} has {size} tokens. Give samples of at least 1.")
        if size > self.budget:
            raise ShapeError(
                f"Sample {sample} has {size} tokens and a step {self.budget}. Give steps at least {size} tokens, or "
                "the mix of shapes smaller clips."
            )
        return size

    def _ahead(self, stream: Iterator[int]) -> list[int]:
        """Samples to choose from: so few that what is passed over fits into one step."""
        ahead: list[int] = []
        room = self.budget
        for sample in islice(stream, self.look_ahead):
            room -= self._size(sample)
            if room < 0:
                break
            ahead.append(sample)
        return ahead


def _fill(sizes: Sequence[int], room: int) -> list[int]:
    """Places of the sizes whose sum comes closest to `room` from below; the first ones where several do."""
    # Bit n of reached[k] says that some of the first k sizes sum to n.
    reached = [1]
    for size in sizes:
        reached.append((reached[-1] | reached[-1] << size) & ((2 << room) - 1))
    total = reached[-1].bit_length() - 1
    chosen = []
    for place in range(len(sizes) - 1, -1, -1):
        if not reached[place] >> total & 1:
            chosen.append(place)
            total -= sizes[place]
    return chosen[::-1]


def share(loads: Sequence[Load], ranks: int) -> list[list[Load]]:
    """A step's samples for each rank, such that the slowest has little more FLOPs than the mean.

    Longest first to the least loaded (Graham 1969, SIAM J. Appl. Math. 17), then moves and exchanges that relieve the
    slowest rank, until none does or it is close to the mean. Fewer samples than ranks leave ranks without any.
    Raises `ConfigError`.
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
        # Something is asked for, so that rounding cannot have two ranks exchange for ever.
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


@dataclass(frozen=True)
class Waste:
    """What a run pays for beside its clips, as shares.

    `filler`: of the budget, tokens that no clip used. `rounding`: of the clips' pixels, those beyond whole patches,
    which are cropped. `imbalance`: FLOPs of the slowest rank over the mean, the mean of all steps; `worst_imbalance`
    is that of the worst step.
    """

    filler: float
    rounding: float
    imbalance: float
    worst_imbalance: float


def patches(shape: "Shape", patch: tuple[int, int, int]) -> int:
    """Tokens of a clip cropped to whole patches. Raises `ShapeError` where it is smaller than one."""
    cells = [size // side for size, side in zip((shape.frames, shape.height, shape.width), patch, strict=True)]
    if not all(cells):
        raise ShapeError(f"A clip of {shape} is smaller than a patch of {patch}. Give larger clips or smaller patches.")
    return prod(cells)


def measure_waste(
    shape_of: Callable[[int], "Shape"],
    flops_of: Callable[[int], float],
    patch: tuple[int, int, int],
    *,
    budget: int,
    ranks: int,
    steps: int,
) -> Waste:
    """The waste of `steps` steps from a stream's begin, where `flops_of(tokens)` tells what a sample costs."""
    planner = StepPlanner(lambda sample: patches(shape_of(sample), patch), budget)
    state, used, pixels, imbalances = StreamState(), 0, 0, []
    for _ in range(steps):
        samples, state = planner.plan(state)
        shapes = [shape_of(sample) for sample in samples]
        tokens = [patches(shape, patch) for shape in shapes]
        loads = [Load(sample, n, flops_of(n)) for sample, n in zip(samples, tokens, strict=True)]
        work = [_work(mine) for mine in share(loads, ranks)]
        used += sum(tokens)
        pixels += sum(shape.frames * shape.height * shape.width for shape in shapes)
        imbalances.append(max(work) / (sum(work) / ranks))
    return Waste(
        filler=1 - used / (steps * budget),
        rounding=1 - used * prod(patch) / pixels,
        imbalance=sum(imbalances) / steps,
        worst_imbalance=max(imbalances),
    )

"""Which samples make a step: a fixed budget of tokens, filled by clips of any shape.

The samples of a step depend on the order of samples alone, so a run that was interrupted or resized takes the same
steps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count, islice
from typing import Final, Self

from kinema_model.codec.grid import LatentGrid
from kinema_model.errors import ConfigError, ShapeError
from kinema_model.source import Shape

LOOK_AHEAD: Final = 16
STATE_NUMBERS: Final = 1 + LOOK_AHEAD
_REMEMBERED: Final = 4096


@dataclass(frozen=True)
class StreamState:
    """The samples taken so far: every id below `following` except the `skipped` ones."""

    following: int = 0
    skipped: tuple[int, ...] = ()

    def to_numbers(self) -> list[int]:
        """`STATE_NUMBERS` numbers for a checkpoint; unused ones are -1."""
        return [self.following, *self.skipped, *[-1] * (LOOK_AHEAD - len(self.skipped))]

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> Self:
        """The state that `to_numbers` wrote. Raises `ConfigError` for other numbers."""
        following, *others = numbers or [-1]
        skipped = tuple(each for each in others if each != -1)
        if len(numbers) != STATE_NUMBERS or following < 0 or not all(0 <= each < following for each in skipped):
            raise ConfigError(f"{list(numbers)} is no place in a stream of samples. Resume from another checkpoint.")
        return cls(following, skipped)

    @property
    def taken(self) -> int:
        """Number of samples taken so far."""
        return self.following - len(self.skipped)


class StepPlanner:
    """Fills steps of `budget` tokens with samples in id order; `tokens(id)` is the size of a sample in tokens.

    A step takes samples in order as long as they fit. Among the next `look_ahead` it then takes those that fill the
    rest of the budget best. Skipped samples come first in the next step and are all taken there, since together they
    are no larger than the budget. Nothing depends on the number of ranks. Raises `ConfigError` for a budget below 1.
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
        """Ids of the samples of the next step, earlier skipped ones first, else ascending; and the state after it.

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
        """Samples to choose from: so few that those skipped fit into one step."""
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


def tokens_of(grid: LatentGrid, shape: Shape) -> int:
    """Tokens of a clip cropped to whole ones. Raises `ShapeError` where it is smaller than one."""
    return grid.tokens(shape.frames, shape.height, shape.width)

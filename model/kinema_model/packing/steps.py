"""The steps of a training: which clips of the data each takes, and which of them each rank computes.

A step depends on the source, the budget and the steps before it alone. So a run that was stopped continues with the
clips that follow, on any number of ranks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kinema_model.config import ModelConfig
from kinema_model.errors import ConfigError, ShapeError
from kinema_model.network.flops import training_flops
from kinema_model.packing.planning import StepPlanner, StreamState, tokens_of
from kinema_model.packing.sharing import Load, share
from kinema_model.source import Source

# Text states of a usual caption, which cost little compared with the tokens of a clip.
_TEXT: Final = 20


@dataclass(frozen=True)
class Step:
    """One optimiser step over all ranks: `number` counts from 0, `after` is the state of the stream after it."""

    number: int
    loads: tuple[Load, ...]
    after: StreamState

    @property
    def samples(self) -> tuple[int, ...]:
        """Ids of all its clips."""
        return tuple(load.sample for load in self.loads)

    @property
    def tokens(self) -> int:
        """Tokens of all its clips, without those of input parts beside a clip."""
        return sum(load.tokens for load in self.loads)

    def of(self, rank: int, ranks: int) -> list[int]:
        """Ids of a rank's clips: none where there are fewer clips than ranks. Raises `ConfigError`."""
        if not 0 <= rank < ranks:
            raise ConfigError(f"Rank {rank} is outside a group of {ranks}. Give a rank below the group's size.")
        return [load.sample for load in share(self.loads, ranks)[rank]]


class Steps:
    """All steps of a training on a source, of at most `budget` tokens each. `largest` is the largest clip's tokens.

    Raises `ShapeError` where the largest clip does not fit the budget or the model.
    """

    def __init__(self, source: Source, config: ModelConfig, budget: int) -> None:
        self._source = source
        self._config = config
        largest = max(tokens_of(config.grid, shape) for shape in source.largest_shapes())
        if largest > budget:
            raise ShapeError(
                f"A step of {budget} tokens does not hold the largest clip, which has {largest}. "
                "Give steps at least as many, or the data smaller clips."
            )
        self.largest = largest
        self._planner = StepPlanner(self._tokens, budget)

    def walk(self, first: int, end: int, state: StreamState) -> Iterator[Step]:
        """Steps `first` to `end` - 1; `state` is the state after step `first` - 1. Raises as `StepPlanner.plan`."""
        for number in range(first, end):
            samples, state = self._planner.plan(state)
            yield Step(number, tuple(self._load(sample) for sample in samples), state)

    def _tokens(self, sample: int) -> int:
        return tokens_of(self._config.grid, self._source.shape(sample))

    def _load(self, sample: int) -> Load:
        tokens = self._tokens(sample)
        return Load(sample, tokens, training_flops(self._config.network, [tokens], [_TEXT]))

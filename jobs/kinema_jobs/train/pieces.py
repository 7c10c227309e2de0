"""A rank computes its share of a step in micro-batches that fit into memory; their gradients add up.

So a step that fits into a large group also fits into the smaller group that is left when nodes are lost. The size of a
piece is estimated from free memory (`memory.py`). If memory runs out all the same, the agent halves the limit and
starts another round, down to a single clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from kinema_model.packing.sharing import Load

_FILE: Final = "pieces.json"


@dataclass(frozen=True)
class PieceLimit:
    """How many tokens a worker computes at once. A node keeps it between rounds, in a file of its scratch folder."""

    tokens: int
    clip: int
    """Tokens of the largest clip: a piece holds at least that."""
    learnt: bool = False
    """Memory ran out at a larger limit: keep this one for rounds of any size."""

    def halved(self, times: int = 1) -> Self:
        """Half the limit, but at least a single clip."""
        return replace(self, tokens=max(self.clip, self.tokens >> times))

    @property
    def smallest(self) -> bool:
        """Whether no piece can be smaller."""
        return self.tokens <= self.clip

    @classmethod
    def read(cls, scratch: Path) -> Self | None:
        """The stored limit; None if there is none yet."""
        try:
            return TypeAdapter(cls).validate_json((scratch / _FILE).read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, scratch: Path) -> None:
        """Store the limit for later rounds."""
        (scratch / _FILE).write_bytes(TypeAdapter(type(self)).dump_json(self))


def pieces(loads: Sequence[Load], most: int) -> list[list[int]]:
    """Ids of a share's samples in pieces of at most `most` tokens, or of a single sample that is larger."""
    found: list[list[int]] = []
    room = 0
    for load in loads:
        if not found or load.tokens > room:
            found.append([])
            room = most
        found[-1].append(load.sample)
        room -= load.tokens
    return found

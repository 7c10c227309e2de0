"""A rank computes its share of a step in pieces that memory holds, whose gradients add up to those of the share.

So a step that fits into a large group also fits into the smaller one that is left when nodes are lost. How large a
piece may be is worked out beforehand (`memory.py`) from what is free. That is an estimate: when memory runs out all the
same, the agent halves the limit and the round begins anew, down to a single clip.
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
    """Memory ran out over more: it holds for rounds of any size."""

    def halved(self, times: int = 1) -> Self:
        """A smaller one; the same where it holds a single clip already."""
        return replace(self, tokens=max(self.clip, self.tokens >> times))

    @property
    def smallest(self) -> bool:
        """Whether no piece can be smaller."""
        return self.tokens <= self.clip

    @classmethod
    def read(cls, scratch: Path) -> Self | None:
        """What this node has kept; None when there is nothing yet."""
        try:
            return TypeAdapter(cls).validate_json((scratch / _FILE).read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, scratch: Path) -> None:
        """Keep it for the rounds to come."""
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

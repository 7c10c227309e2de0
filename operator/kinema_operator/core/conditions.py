"""Conditions as a plan writes them: whole seconds, bounded messages, observedGeneration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from kinema_api.base import Condition, set_condition

MAX_MESSAGE: Final = 1024
"""Longest message: messages of pods are not trusted."""


@dataclass(frozen=True)
class PlanTime:
    """Time of a plan, and the generation of the spec that it is for."""

    now: datetime
    generation: int

    def mark(
        self,
        conditions: tuple[Condition, ...],
        type_: str,
        value: bool | Literal["Unknown"],
        reason: str,
        message: str,
    ) -> tuple[Condition, ...]:
        """`conditions` with this one set."""
        condition = Condition(
            type=type_,
            status=value if isinstance(value, str) else "True" if value else "False",
            reason=reason,
            message=message[:MAX_MESSAGE],
            last_transition_time=self.now.replace(microsecond=0),
            observed_generation=self.generation,
        )
        return set_condition(conditions, condition)

"""spec.evaluation and status.evaluation of a training: what is measured of its model, and what it must reach.

Cluster and `kinema run --local` ask the same question of the same figures (`shortfall`), so that a model which passes
here passes there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import WORDED_ERROR, ApiModel, Digest, Uri, cel_rules

SectionName = Literal[
    "captions", "motion", "permanence", "tasks", "distribution", "memorisation", "drift", "shots", "rates", "ablations"
]
CAPTIONS: Final = "captions"

METRICS: Final = (
    "everything",
    "kind",
    "objects",
    "colour",
    "shape",
    "direction",
    "motion",
    "walls",
    "rebounds",
    "trail",
    "pan",
)
"""What a gate may ask for: attributes of the report's section `captions`, over captions like those of training.

A world whose captions never state an attribute has no figure for it.
"""

UNKNOWN_METRIC: Final = f"a gate names metrics of the section captions: use {', '.join(METRICS)}"
GATE_WITHOUT_CAPTIONS: Final = (
    "gate compares figures of the section captions: add captions to sections, or remove gate or sections"
)


class Evaluation(ApiModel):
    """How the finished model is measured before it is published, and what it must reach to be published."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                f"!has(self.gate) || size(self.gate) == 0 || !has(self.sections) || '{CAPTIONS}' in self.sections",
                GATE_WITHOUT_CAPTIONS,
            )
        )
    )

    clips: Annotated[int, Field(ge=2, le=1024)] = 32
    """Clips of each group of captions; tasks with given frames take a quarter of it."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Sets scenes and noise; none of them occurs in training."""
    sections: (
        Annotated[
            tuple[SectionName, ...],
            Field(min_length=1, max_length=10, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Sections of the report; default: all. What does not apply to the model is left out, and the report says why."""
    gate: Annotated[
        dict[str, Annotated[float, Field(ge=0, le=1)]],
        Field(
            max_length=len(METRICS),
            json_schema_extra=cel_rules((f"self.all(metric, metric in {json.dumps(METRICS)})", UNKNOWN_METRIC)),
        ),
    ] = Field(default_factory=dict)
    """Least share of right answers, from 0 to 1, by metric: everything (the whole caption), kind, objects, colour,
    shape, direction, motion, walls, rebounds, trail or pan. A model below one of them is not published, and the run
    has failed."""

    @model_validator(mode="after")
    def _gate_can_be_judged(self) -> Self:
        if any(metric not in METRICS for metric in self.gate):
            raise PydanticCustomError(WORDED_ERROR, UNKNOWN_METRIC)
        if self.gate and self.sections is not None and CAPTIONS not in self.sections:
            raise PydanticCustomError(WORDED_ERROR, GATE_WITHOUT_CAPTIONS)
        return self


class EvaluationStatus(ApiModel):
    """The evaluation of the current run's model."""

    model_digest: Digest
    """Digest of the model that is measured."""
    report_uri: Uri | None = None
    """The page of the report; report.json lies beside it."""
    accuracy: Annotated[dict[str, float], Field(max_length=32)] = Field(default_factory=dict)
    """Share of right answers by metric."""
    passed: bool | None = None
    """Whether the gate is met; unset while the model is measured."""
    seconds: float | None = None
    """How long measuring took."""


def shortfall(gate: Mapping[str, float], accuracy: Mapping[str, float]) -> str:
    """What keeps a model from its gate, as one sentence; empty when the gate is met."""
    missed = []
    for metric, least in sorted(gate.items()):
        reached = accuracy.get(metric)
        if reached is None:
            missed.append(f"{metric} was not measured, and {least:g} is asked for")
        elif reached < least:
            missed.append(f"{metric} reached {reached:.4g}, and {least:g} is asked for")
    return "; ".join(missed)

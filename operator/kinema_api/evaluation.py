"""spec.evaluation and status.evaluation of a training: which metrics are computed for its model, and the gate.

The cluster and `kinema run --local` apply the same gate (`shortfall`), so that a model passes in both or in neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import MESSAGE_ERROR, ApiModel, Digest, Uri, cel_rules
from kinema_api.pod_template import PodTemplate

SectionName = Literal[
    "captions",
    "motion",
    "permanence",
    "tasks",
    "distribution",
    "memorisation",
    "drift",
    "shots",
    "rates",
    "ablations",
    "validation",
    "retrieval",
    "dynamics",
    "likeness",
    "copies",
]
CAPTIONS: Final = "captions"

MIN_CLIPS: Final = 2
MAX_SEED: Final = 2**31 - 1
DEFAULT_COMMAND_CLIPS: Final = 128
"""Default of the commands. A training's evaluation has fewer, since its nodes wait for it."""
MIN_STREAM_SECONDS: Final = 10
MAX_STREAM_SECONDS: Final = 600
DEFAULT_STREAM_SECONDS: Final = 20.0
"""Length of the streams on which the section `drift` is measured."""

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
"""Metrics for a gate: attributes of the report's section `captions`, over captions distributed as in training.

An attribute that the world's captions never state has no accuracy.
"""

UNKNOWN_METRIC: Final = f"a gate names metrics of the section captions: use {', '.join(METRICS)}"
GATE_WITHOUT_CAPTIONS: Final = "gate needs the section captions: add captions to sections, or remove gate or sections"


class Evaluation(ApiModel):
    """How the trained model is evaluated before it is published, and the gate for publishing it."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                f"!has(self.gate) || size(self.gate) == 0 || !has(self.sections) || '{CAPTIONS}' in self.sections",
                GATE_WITHOUT_CAPTIONS,
            )
        )
    )

    clips: Annotated[int, Field(ge=MIN_CLIPS, le=1024)] = 32
    """Clips per group of captions; tasks with input frames use a quarter of it."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    """Random seed of scenes and noise, which are disjoint from those of training."""
    sections: (
        Annotated[
            tuple[SectionName, ...],
            Field(min_length=1, max_length=15, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Sections of the report; default: all. Sections that do not apply to the model are left out, and the report gives
    the reason."""
    gate: Annotated[
        dict[str, Annotated[float, Field(ge=0, le=1)]],
        Field(
            max_length=len(METRICS),
            json_schema_extra=cel_rules((f"self.all(metric, metric in {json.dumps(METRICS)})", UNKNOWN_METRIC)),
        ),
    ] = Field(default_factory=dict)
    """Minimum accuracy, from 0 to 1, by metric: everything (the whole caption), kind, objects, colour, shape,
    direction, motion, walls, rebounds, trail or pan. The lower bound of its 95 % interval must reach it, which is at
    most clips / (clips + 3.84). A model below one of them is not published, and the run fails."""
    pod_template: PodTemplate | None = None
    """What the evaluator's pod has in the place of the trainers' template; a field that is left out is as theirs."""

    @model_validator(mode="after")
    def _gate_can_be_judged(self) -> Self:
        if any(metric not in METRICS for metric in self.gate):
            raise PydanticCustomError(MESSAGE_ERROR, UNKNOWN_METRIC)
        if self.gate and self.sections is not None and CAPTIONS not in self.sections:
            raise PydanticCustomError(MESSAGE_ERROR, GATE_WITHOUT_CAPTIONS)
        return self


class EvaluationStatus(ApiModel):
    """Evaluation of the current run's model."""

    model_digest: Digest
    """Digest of the evaluated model."""
    report_uri: Uri | None = None
    """Location of the report's HTML page; report.json is in the same folder."""
    accuracy: Annotated[dict[str, float], Field(max_length=32)] = Field(default_factory=dict)
    """Accuracy by metric, from 0 to 1."""
    lower_bounds: Annotated[dict[str, float], Field(max_length=32)] = Field(default_factory=dict)
    """Lower bound of the 95 % interval of each accuracy, which the gate is compared with."""
    passed: bool | None = None
    """Whether the model passes the gate; unset during evaluation."""
    seconds: float | None = None
    """Duration of the evaluation in seconds."""


def shortfall(gate: Mapping[str, float], accuracy: Mapping[str, float], lower_bounds: Mapping[str, float]) -> str:
    """The metrics that miss the gate, as one sentence; empty if the model passes.

    What is compared is the lower bound of an accuracy; the accuracy itself where a report has no bounds.
    """
    missed = []
    for metric, least in sorted(gate.items()):
        reached = accuracy.get(metric)
        bound = lower_bounds.get(metric, reached)
        if reached is None or bound is None:
            missed.append(f"{metric} was not measured; the gate is {least:g}")
        elif reached < least:
            missed.append(f"{metric} is {reached:.4g}, below the gate of {least:g}")
        elif bound < least:
            missed.append(
                f"{metric} is {reached:.4g}, but its lower bound (95 %) is {bound:.4g}, below the gate of {least:g}: "
                "more evaluation.clips raise it"
            )
    return "; ".join(missed)

"""The entry point: all sections that apply to a model, and a reason for each that does not."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from kinema_evaluation import (
    ablations,
    captions,
    distribution,
    memorisation,
    motion,
    open_length,
    permanence,
    rates,
    shots,
    tasks,
)
from kinema_evaluation.errors import PlanError
from kinema_evaluation.plan import RECORDED, EvaluationContext, EvaluationPlan, OnProgress, Renderer, SkippedSection
from kinema_evaluation.recorded import copies, dynamics, likeness, loss, retrieval
from kinema_evaluation.recorded.clips import RecordedData
from kinema_evaluation.report import Report, Section

_EXAMINERS: Final[Mapping[str, Callable[[EvaluationContext], Section]]] = {
    "captions": captions.examine,
    "motion": motion.examine,
    "permanence": permanence.examine,
    "tasks": tasks.examine,
    "distribution": distribution.examine,
    "memorisation": memorisation.examine,
    "drift": open_length.examine,
    "shots": shots.examine,
    "rates": rates.examine,
    "ablations": ablations.examine,
    "validation": loss.examine,
    "retrieval": retrieval.examine,
    "dynamics": dynamics.examine,
    "likeness": likeness.examine,
    "copies": copies.examine,
}


def _silent(section: str, done: int, total: int) -> None:
    """Ignores progress."""


def evaluate(
    pipeline: Renderer,
    plan: EvaluationPlan,
    on_progress: OnProgress = _silent,
    beside: Mapping[str, Renderer] = MappingProxyType({}),
    recorded: RecordedData | None = None,
) -> Report:
    """Measure a model; those `beside` it, by label, are compared in the section of ablations.

    `recorded` are the recorded clips that it was trained on. With them and without `plan.world` it was trained on
    nothing else, and sections about the synthetic world do not apply.

    Raises `PlanError` for a section that does not exist or is missing, else `ModelError` and `WorldError`.
    """
    unknown = [name for name in plan.sections if name not in _EXAMINERS]
    if unknown:
        raise PlanError(f"There is no section {unknown[0]!r}. Choose from: {', '.join(_EXAMINERS)}.")
    if beside and "ablations" not in plan.sections:
        raise PlanError("Models beside this one are compared in the section 'ablations'. Ask for it too.")
    if ablations.THIS in beside:
        raise PlanError(f"The label {ablations.THIS!r} stands for the model itself. Choose another.")
    examination = EvaluationContext(pipeline, plan, on_progress, beside=beside, recorded=recorded)
    sections: dict[str, Section] = {}
    absent: dict[str, str] = {}
    for name in plan.sections:
        if name not in RECORDED and recorded is not None and plan.world is None:
            absent[name] = "The model was not trained on the synthetic world, whose scenes this asks about."
            continue
        try:
            sections[name] = _EXAMINERS[name](examination.of(name))
        except SkippedSection as reason:
            absent[name] = str(reason)
    return examination.report(sections, absent)

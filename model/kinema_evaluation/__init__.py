"""The evaluation of a model by the pixels of its clips: scores with intervals, floors, chance and controls."""

from kinema_evaluation.evaluate import evaluate
from kinema_evaluation.plan import EVALUATION_STEPS, SECTIONS, EvaluationPlan, Renderer
from kinema_evaluation.report import ContactSheet, Curve, Report, ReportClip, Row, Score, Section

__all__ = [
    "EVALUATION_STEPS",
    "SECTIONS",
    "ContactSheet",
    "Curve",
    "EvaluationPlan",
    "Renderer",
    "Report",
    "ReportClip",
    "Row",
    "Score",
    "Section",
    "evaluate",
]

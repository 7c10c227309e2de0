"""How good a model is, read from the pixels of its clips: numbers with intervals, floors, chances and controls."""

from kinema_evaluation.evaluate import evaluate
from kinema_evaluation.plan import EVALUATION_STEPS, SECTIONS, Plan, Renderer
from kinema_evaluation.report import Curve, Report, Row, Score, Section, Sheet, Shown

__all__ = [
    "EVALUATION_STEPS",
    "SECTIONS",
    "Curve",
    "Plan",
    "Renderer",
    "Report",
    "Row",
    "Score",
    "Section",
    "Sheet",
    "Shown",
    "evaluate",
]

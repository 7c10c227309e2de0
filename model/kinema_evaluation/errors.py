"""The errors of this package, with one base class; those of the model and the world pass through.

Every message ends with a sentence that says what to do.
"""


class EvaluationError(Exception):
    """Base of all errors that this package raises on purpose."""


class PlanError(EvaluationError):
    """The plan of an evaluation contradicts itself."""


class MeasureError(EvaluationError):
    """A measure was given too few clips, or clips that do not belong together."""

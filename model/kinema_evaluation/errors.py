"""One tree of errors of judging; what the model or the world refuses comes as an error of theirs.

Every message ends with a sentence that says what to do about it.
"""


class EvaluationError(Exception):
    """Base of all errors that this package raises on purpose."""


class PlanError(EvaluationError):
    """An evaluation was asked for what it cannot do."""


class MeasureError(EvaluationError):
    """A measure was given too few clips, or clips that do not belong together."""

"""The errors of this package, with one base class.

Every message ends with a sentence that says what to do.
"""

from pydantic import ValidationError


class ModelError(Exception):
    """Base of all errors that this package raises on purpose."""


class UnknownPreset(ModelError):
    """There is no preset of this name."""


class ConfigError(ModelError):
    """Settings contradict each other or are out of range."""


class ShapeError(ModelError):
    """A tensor or a clip has a size that the model cannot take."""


class TaskError(ModelError):
    """The model was not trained for the task, or the task lacks an input."""


class PromptError(ModelError):
    """A prompt is empty, too long, or not text."""


class BrokenArtefact(ModelError):
    """A model folder is incomplete, damaged, or not what its config says."""


class TextEncoderMissing(ModelError):
    """The weights of the text encoder are not installed."""


class NotFinite(ModelError):
    """The outputs of a model are NaN or infinite."""


class DataWorkerLost(ModelError):
    """A process that makes the batches of a training has ended."""


class SamplingStopped(ModelError):
    """Sampling was stopped before its last step."""


def reasons(error: ValidationError, what: str) -> str:
    """One sentence per field of `what` that does not fit, and what to do."""
    parts = (f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors())
    return f"{what} does not make a model: {'; '.join(parts)}. Correct these fields."

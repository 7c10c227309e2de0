"""One tree of errors, so that a caller can catch everything this package refuses with one clause.

Every message ends with a sentence that says what to do about it.
"""

from pydantic import ValidationError


class ModelError(Exception):
    """Base of all errors that this package raises on purpose."""


class UnknownPreset(ModelError):
    """A preset was asked for by a name that does not exist."""


class ConfigError(ModelError):
    """A model's settings contradict each other."""


class ShapeError(ModelError):
    """A tensor or a clip has a size that the model cannot take."""


class TaskError(ModelError):
    """A task was asked for that the model was not trained for."""


class PromptError(ModelError):
    """A prompt is empty, too long, or not text."""


class BrokenArtefact(ModelError):
    """A model folder is incomplete, damaged, or not what its config says."""


class TextEncoderMissing(ModelError):
    """The weights of the text encoder are not installed."""


class NotFinite(ModelError):
    """A model made NaN or infinity, of which no picture can be drawn."""


class SamplingStopped(ModelError):
    """Sampling was asked to stop before it was done."""


def reasons(error: ValidationError, what: str) -> str:
    """One sentence per field of `what` that does not fit, and what to do."""
    parts = (f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors())
    return f"{what} does not make a model: {'; '.join(parts)}. Correct these fields."

"""One tree of errors of the world, so that a caller can catch everything this package refuses with one clause.

Every message ends with a sentence that says what to do about it.
"""


class WorldError(Exception):
    """Base of all errors that this package raises on purpose."""


class WorldConfigError(WorldError):
    """The settings of a world contradict each other, or leave no scene to be made."""


class ClipError(WorldError):
    """A clip has a shape or a rate that is not made, or that cannot be read."""


class CaptionError(WorldError):
    """A caption is not in the world's language; `reason` says why in words that quote nothing of it."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class BrokenWorldFile(WorldError):
    """The file that tells which world a model was trained on cannot be read."""

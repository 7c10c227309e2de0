"""What a model can be asked to do; all of it is one mechanism, some of the clip given and the rest made."""

from enum import StrEnum


class Task(StrEnum):
    """A way of asking for a clip."""

    TEXT = "text"

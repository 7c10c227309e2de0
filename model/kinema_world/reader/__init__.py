"""Reads clips from pixels alone, so that the clips of a model can be compared with their prompts.

`read` finds all that captions describe in any scene of the world; `parse` reads the three attributes of a simple
scene and tolerates the blurred clips of small models.
"""

from kinema_world.reader.clips import read
from kinema_world.reader.reading import ObjectReading, Reading, agreement
from kinema_world.reader.simple import parse

__all__ = ["ObjectReading", "Reading", "agreement", "parse", "read"]

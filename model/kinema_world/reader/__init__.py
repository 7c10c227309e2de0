"""Reads clips back from pixels alone, so that a model can be marked without asking it what it meant.

`read` finds all that captions speak of in any scene of the world; `parse` reads the three attributes of a simple
one and bears what a small model draws.
"""

from kinema_world.reader.clips import read
from kinema_world.reader.reading import ObjectReading, Reading, agreement
from kinema_world.reader.simple import parse

__all__ = ["ObjectReading", "Reading", "agreement", "parse", "read"]

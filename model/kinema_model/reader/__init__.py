"""Reads clips back from pixels alone, so that a model can be marked without asking it what it meant."""

from kinema_model.reader.simple import parse

__all__ = ["parse"]

"""Measures how long a training waits for its clips, whatever their source."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from kinema_model.source import Clip, Shape, Source

T = TypeVar("T")


class TimedSource:
    """Wraps a source and adds up in `waited` the seconds that its shapes and clips take."""

    def __init__(self, source: Source) -> None:
        self.waited = 0.0
        self._source = source

    @property
    def digest(self) -> str:
        """As `Source.digest`."""
        return self._source.digest

    def shape(self, index: int) -> Shape:
        """As `Source.shape`."""
        return self._timed(lambda: self._source.shape(index))

    def largest_shapes(self) -> Sequence[Shape]:
        """As `Source.largest_shapes`."""
        return self._source.largest_shapes()

    def clips(self, indices: Sequence[int]) -> Sequence[Clip]:
        """As `Source.clips`."""
        return self._timed(lambda: self._source.clips(indices))

    def validation(self, count: int) -> Sequence[Clip]:
        """As `Source.validation`; not counted, since no step waits for it."""
        return self._source.validation(count)

    def texts(self) -> Iterable[str]:
        """As `Source.texts`."""
        return self._source.texts()

    def files(self) -> Mapping[str, str]:
        """As `Source.files`."""
        return self._source.files()

    def _timed(self, call: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return call()
        finally:
            self.waited += time.perf_counter() - began

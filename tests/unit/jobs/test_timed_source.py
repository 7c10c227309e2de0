"""What a training counts as waiting for its data: shapes and clips of steps, and nothing beside them."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from kinema_jobs.train import timed_source
from kinema_jobs.train.timed_source import TimedSource
from kinema_model.source import Source
from kinema_world import World
from kinema_world.source import WorldSource


@pytest.fixture
def world() -> WorldSource:
    return WorldSource(World.fixed(7, 4, 16, 16, 8))


def test_shapes_and_clips_are_waited_for_and_nothing_else(world: WorldSource, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(timed_source, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    source = TimedSource(world)
    source.validation(1), source.largest_shapes(), source.files(), source.digest
    assert source.waited == 0
    source.shape(3)
    assert source.waited == 1
    source.clips([3, 4])
    assert source.waited == 2


def test_it_tells_what_the_source_tells(world: WorldSource) -> None:
    source: Source = TimedSource(world)
    assert source.digest == world.digest
    assert source.shape(2) == world.shape(2)
    assert source.files() == world.files()
    assert [clip.captions for clip in source.clips([5])] == [clip.captions for clip in world.clips([5])]
    assert next(iter(source.texts())) == next(iter(world.texts()))

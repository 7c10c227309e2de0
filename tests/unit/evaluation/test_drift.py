"""Drift over a long clip: the truth keeps everything, and no way of making it out of a second passes."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kinema_evaluation.drift import COPY_LAST, FROZEN, LOOPED, Stream, controls, drift
from kinema_evaluation.errors import MeasureError
from kinema_evaluation.plan import true_clips
from kinema_world import ClipShape, Scene, SceneKind, ShapeMix, Video, World, WorldConfig
from kinema_world.casting import inside
from kinema_world.motion import bouncing

pytestmark = pytest.mark.slow


SECONDS = 30
FPS = 8


def _minute(seconds: int = SECONDS) -> tuple[Scene, Video]:
    """A disc that bounces through the frame at a slant, whose course never comes back to itself."""
    world = World(WorldConfig(kinds={SceneKind.BOUNCE: 1.0}, shapes=ShapeMix.fixed(16, 32, 48, FPS)))
    scene = next(s for s in map(world.scene, range(500)) if s.tracks[0].heading == "up and left")
    shape = ClipShape(seconds * FPS, 32, 48, FPS)
    (shot,) = scene.shots
    (track,) = shot.tracks
    times = np.arange(shape.frames) / FPS
    trajectory = bouncing(track.positions[0], np.array([11.3, 7.1]), inside(track.appearance, shape), times)
    ones = np.ones(shape.frames)
    long = replace(track, positions=trajectory.positions, world_positions=trajectory.positions, visible=ones)
    still = np.zeros((shape.frames, 2))
    whole = replace(scene, shape=shape, shots=(replace(shot, frames=shape.frames, tracks=(long,), camera=still),))
    return whole, true_clips([whole])[0]


def _chunks(clip: Video, length: int = FPS) -> Iterator[Video]:
    for first in range(0, len(clip), length):
        yield clip[first : first + length]


@pytest.fixture(scope="module")
def minute() -> tuple[Scene, Video]:
    return _minute()


def test_a_true_minute_holds_and_the_three_rules_do_not(minute: tuple[Scene, Video]) -> None:
    scene, clip = minute
    asked = scene.facts.brief()
    told = drift(Stream(asked, _chunks(clip, 2 * FPS), FPS))
    assert told.holds
    assert min(told.last, told.lawful, told.new_seconds) >= 0.95
    assert len(told.right) == SECONDS / 2
    rules = controls(clip[: 2 * FPS], FPS, len(clip))
    judged = {name: drift(Stream(asked, make(), FPS)) for name, make in rules.items()}
    assert judged[FROZEN].lawful == 0.0
    assert judged[COPY_LAST].lawful < 0.1
    for rule in (FROZEN, LOOPED, COPY_LAST):
        assert judged[rule].new_seconds < 0.1, rule
        assert not judged[rule].holds, rule
        assert judged[rule].right[-1] == 0.0, rule


def test_a_colour_that_fades_on_the_way_is_told_where_it_fades(minute: tuple[Scene, Video]) -> None:
    scene, clip = minute
    clip = clip[: 20 * FPS].copy()
    clip[12 * FPS :] = clip[12 * FPS :][..., [2, 0, 1]]
    told = drift(Stream(scene.facts.brief(), _chunks(clip), FPS))
    assert told.attributes(0, 10) >= 0.95
    assert told.attributes(13, 20) <= 0.1
    assert all(chunk.lawful for chunk in told.chunks[:10])
    assert not any(chunk.lawful for chunk in told.chunks[13:])


def test_a_jump_between_chunks_is_against_the_law(minute: tuple[Scene, Video]) -> None:
    scene, clip = minute
    jumped = np.concatenate((clip[: 4 * FPS], clip[9 * FPS : 12 * FPS]))
    told = drift(Stream(scene.facts.brief(), _chunks(jumped), FPS))
    assert [chunk.lawful for chunk in told.chunks] == [True] * 4 + [False] + [True] * 2


def test_a_second_that_comes_again_is_told(minute: tuple[Scene, Video]) -> None:
    scene, clip = minute
    again = np.concatenate((clip[: 10 * FPS], clip[3 * FPS + 2 : 4 * FPS + 2], clip[10 * FPS : 15 * FPS]))
    told = drift(Stream(scene.facts.brief(), _chunks(again), FPS))
    assert told.new_seconds == pytest.approx(14 / 15)


def test_a_stream_of_nothing_is_refused(minute: tuple[Scene, Video]) -> None:
    with pytest.raises(MeasureError, match="at least one"):
        drift(Stream(minute[0].facts, [], FPS))

"""The laws of motion, as properties."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_world import SceneKind, ShapeMix, World, WorldConfig
from kinema_world.motion import bouncing, elastic, falling, rebounds

BOX = ((4.0, 60.0), (5.0, 40.0))
speeds = st.floats(-120, 120).filter(lambda value: abs(value) > 1)


@settings(max_examples=examples(80), deadline=None)
@given(x=st.floats(4, 60), y=st.floats(5, 40), across=speeds, down=speeds)
def test_reflection_keeps_speed_and_angle(x: float, y: float, across: float, down: float) -> None:
    times = np.linspace(0, 3, 400)
    trajectory = bouncing(np.array([x, y]), np.array([across, down]), BOX, times)
    assert np.abs(trajectory.velocities) == pytest.approx(np.broadcast_to(np.abs([across, down]), (400, 2)))
    for axis, (low, high) in enumerate(BOX):
        assert trajectory.positions[:, axis].min() >= low - 1e-9
        assert trajectory.positions[:, axis].max() <= high + 1e-9
    # No step is longer than the speed allows, so nothing jumps.
    steps = np.linalg.norm(np.diff(trajectory.positions, axis=0), axis=1)
    assert steps.max() <= np.hypot(across, down) * times[1] + 1e-9


@settings(max_examples=examples(80), deadline=None)
@given(x=st.floats(4, 60), y=st.floats(5, 40), across=speeds, down=speeds)
@example(x=4.0, y=5.0, across=2.0, down=35.0)  # the course ends at a wall
@example(x=60.0, y=5.0, across=2.0, down=-35.0)  # it begins at one
def test_every_bounce_is_at_its_wall_and_turns_the_object(x: float, y: float, across: float, down: float) -> None:
    start, velocity = np.array([x, y]), np.array([across, down])
    trajectory = bouncing(start, velocity, BOX, np.array([0.0, 2.0]))
    for bounce in trajectory.bounces:
        around = np.array([bounce.time - 1e-6, bounce.time, bounce.time + 1e-6])
        assume(around[0] > 0)
        moment = bouncing(start, velocity, BOX, around)
        axis = 0 if bounce.wall in ("left", "right") else 1
        wall = BOX[axis][int(bounce.wall in ("right", "bottom"))]
        assert moment.positions[1, axis] == pytest.approx(wall, abs=1e-3)
        assert moment.velocities[0, axis] == -moment.velocities[2, axis]
    turns = np.sign(trajectory.velocities[-1] * velocity)
    sideways = sum(bounce.wall in ("left", "right") for bounce in trajectory.bounces)
    assert turns.tolist() == [(-1) ** sideways, (-1) ** (len(trajectory.bounces) - sideways)]


@settings(max_examples=examples(60), deadline=None)
@given(drop=st.floats(5, 60), gravity=st.floats(20, 300), restitution=st.floats(0.4, 0.8))
def test_a_fall_is_a_parabola_until_it_lands(drop: float, gravity: float, restitution: float) -> None:
    landing = (2 * drop / gravity) ** 0.5
    times = np.linspace(0, landing * 0.999, 50)
    heights, upwards = falling(drop, gravity, restitution, 4.0, times)
    assert heights == pytest.approx(drop - gravity * times**2 / 2)
    assert upwards == pytest.approx(-gravity * times)


@settings(max_examples=examples(60), deadline=None)
@given(drop=st.floats(5, 60), gravity=st.floats(20, 300), restitution=st.floats(0.4, 0.8))
def test_each_bounce_loses_energy_until_rest(drop: float, gravity: float, restitution: float) -> None:
    touches = rebounds(drop, gravity, restitution, 4.0)
    rises = []
    for begin, end in itertools.pairwise(touches):
        heights, _ = falling(drop, gravity, restitution, 4.0, np.linspace(begin, end - 1e-9, 201))
        rises.append(heights.max())
    for number, rise in enumerate(rises, start=1):
        assert rise == pytest.approx(drop * restitution ** (2 * number), rel=1e-3)
        assert rise >= 4.0 * 0.999
    after, speed = falling(drop, gravity, restitution, 4.0, np.array([touches[-1] + 0.01, touches[-1] + 9]))
    assert (after.tolist(), speed.tolist()) == ([0, 0], [0, 0])


vectors = st.tuples(st.floats(-50, 50), st.floats(-50, 50)).map(np.array)


@settings(max_examples=examples(100), deadline=None)
@given(first=vectors, second=vectors, angle=st.floats(0, 6.28), m=st.floats(0.1, 10), n=st.floats(0.1, 10))
def test_collisions_keep_momentum_and_energy(
    first: np.ndarray, second: np.ndarray, angle: float, m: float, n: float
) -> None:
    normal = np.array([np.cos(angle), np.sin(angle)])
    one, other = elastic(normal, (first, second), (m, n))
    assert m * one + n * other == pytest.approx(m * first + n * second, abs=1e-6)
    before = m * first @ first + n * second @ second
    assert m * one @ one + n * other @ other == pytest.approx(before, abs=1e-6)
    assert (one - other) @ normal == pytest.approx(-(first - second) @ normal, abs=1e-6)


def test_collisions_in_scenes_keep_momentum_and_energy_and_touch() -> None:
    world = World(WorldConfig(kinds={SceneKind.COLLIDE: 1.0}))
    for index in range(60):
        (shot,) = world.scene(index).shots
        first, second = shot.tracks
        before, after = ([track.velocities[frame] for track in shot.tracks] for frame in (0, -1))
        ratios = []
        for masses in ((1.0, 1.0), (first.appearance.radius**2, second.appearance.radius**2)):
            momentum = [sum(m * v for m, v in zip(masses, vs, strict=True)) for vs in (before, after)]
            energy = [sum(m * v @ v for m, v in zip(masses, vs, strict=True)) for vs in (before, after)]
            ratios.append(np.allclose(*momentum) and np.allclose(*energy))
        assert any(ratios)
        gaps = np.linalg.norm(first.positions - second.positions, axis=1)
        reach = first.appearance.radius + second.appearance.radius
        step = np.linalg.norm(before[0]) / world.scene(index).shape.fps
        assert reach - 1e-6 <= gaps.min() <= reach + 2 * step


@pytest.mark.parametrize("kind", [SceneKind.SEVERAL, SceneKind.PAN, SceneKind.PAINT])
def test_frame_rates_show_the_same_motion(kind: SceneKind) -> None:
    """The same seed over the same two seconds: only how often one looks differs."""
    worlds = [
        World(WorldConfig(kinds={kind: 1.0}, shapes=ShapeMix.fixed(2 * fps + 1, 64, 64, fps))) for fps in (8, 12, 24)
    ]
    for index in range(20):
        slow, middle, fast = (world.scene(index) for world in worlds)
        for one, two, three in zip(slow.tracks, middle.tracks, fast.tracks, strict=True):
            assert one.velocities[0] == pytest.approx(two.velocities[0])
            assert one.velocities[0] == pytest.approx(three.velocities[0])
            assert one.positions == pytest.approx(three.positions[::3])
            assert one.positions[::2] == pytest.approx(two.positions[::3])

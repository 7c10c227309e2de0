"""What is read in numbers: places, speeds, times of events, accelerations."""

from functools import cache

import numpy as np
import pytest

from examples import examples
from kinema_world import Motion, Scene, SceneKind, ShapeMix, World, WorldConfig
from kinema_world.reader import Reading, read

pytestmark = pytest.mark.slow


CLIPS = examples(10)


@cache
def _read(kind: SceneKind, *, sides: tuple[int, int] = (48, 80), frames: int = 24) -> list[tuple[Scene, Reading]]:
    world = World(WorldConfig(seed=12, kinds={kind: 1.0}, shapes=ShapeMix(frames=(frames,), sides=sides)))
    clips = [world.sample(index) for index in range(CLIPS)]
    return [(clip.scene, read(clip.video, clip.scene.shape.fps)) for clip in clips]


@pytest.mark.parametrize("kind", [SceneKind.SEVERAL, SceneKind.BOUNCE, SceneKind.COLLIDE, SceneKind.PAN])
def test_places_and_velocities(kind: SceneKind) -> None:
    for scene, reading in _read(kind):
        by_colour = {thing.colour: thing for thing in reading.shots[0].objects}
        for track in scene.tracks:
            thing = by_colour[track.appearance.colour]
            assert thing.radius == pytest.approx(track.appearance.radius, rel=0.06)
            misses = [np.hypot(*(np.array(c) - p)) for c, p in zip(thing.centres, track.positions, strict=True) if c]
            assert len(misses) >= 0.7 * scene.shape.frames
            assert np.mean(misses) < 0.5
            assert thing.velocity is not None
            pan = scene.shots[0].camera[1] * scene.shape.fps
            expected = track.velocities[-1 if track.motion is Motion.STRUCK else 0] + pan
            assert thing.velocity == pytest.approx(expected, abs=0.06 * np.hypot(*expected) + 0.5)


def test_bounces_have_their_frame_and_wall() -> None:
    for scene, reading in _read(SceneKind.BOUNCE):
        (thing,) = reading.shots[0].objects
        expected = [(bounce.time * scene.shape.fps, bounce.wall) for bounce in scene.tracks[0].bounces]
        assert [bounce.wall for bounce in thing.bounces] == [wall for _, wall in expected]
        assert [bounce.frame for bounce in thing.bounces] == pytest.approx([at for at, _ in expected], abs=0.3)


def test_falls_have_their_acceleration_and_touches() -> None:
    for scene, reading in _read(SceneKind.GRAVITY):
        fall = reading.shots[0].objects[0].fall
        assert fall is not None
        assert fall.acceleration == pytest.approx(scene.shots[0].gravity, rel=0.08)
        touches = [time * scene.shape.fps for time in scene.tracks[0].touches][: fall.rebounds]
        assert list(fall.touches) == pytest.approx(touches, abs=1.0)


def test_collisions_have_their_frame_and_order() -> None:
    for scene, reading in _read(SceneKind.COLLIDE):
        met, collision = reading.shots[0].contact, scene.shots[0].collision
        assert met is not None
        assert collision is not None
        assert met.frame == pytest.approx(collision.time * scene.shape.fps, abs=0.5)
        assert met.colours == tuple(track.appearance.colour for track in scene.tracks)


def test_hidings_have_their_frames_and_exit() -> None:
    exits = {"left": "left", "right": "right", "up": "top", "down": "bottom"}
    for scene, reading in _read(SceneKind.OCCLUDE):
        (thing,), (track,) = reading.shots[0].objects, scene.tracks
        assert thing.occlusion is not None
        hidden = np.flatnonzero(track.visible < 0.04)
        assert (thing.occlusion.first, thing.occlusion.last) == pytest.approx((hidden[0], hidden[-1]), abs=2)
        assert thing.occlusion.exit_side == exits[str(track.heading)]
        assert thing.occlusion.exit_time == (thing.occlusion.last + 1) / scene.shape.fps
        for frame in hidden:
            assert thing.centres[frame] is None


def test_pans_have_their_speed() -> None:
    for scene, reading in _read(SceneKind.PAN):
        camera = reading.shots[0].camera
        assert camera is not None
        expected = scene.shots[0].camera[1] * scene.shape.fps
        assert camera == pytest.approx(expected, abs=0.03 * np.hypot(*expected) + 0.4)


def test_cuts_have_their_frame() -> None:
    for scene, reading in _read(SceneKind.TWO_SHOT):
        assert reading.cut == scene.cut
        assert [shot.frames for shot in reading.shots] == [shot.frames for shot in scene.shots]


def test_trails_have_their_colour() -> None:
    for scene, reading in _read(SceneKind.PAINT):
        trail = reading.shots[0].objects[0].trail
        assert trail is not None
        assert (trail.colour, trail.stays) == (scene.tracks[0].trail, True)

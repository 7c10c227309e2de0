"""Where the reader cannot tell it says so: clips that break the world's laws are not read as if they kept them."""

import numpy as np
import pytest

from kinema_world import COLOURS, DrawnClip, Motion, SceneKind, ShapeMix, Video, World, WorldConfig, coverage
from kinema_world.errors import ClipError
from kinema_world.reader import agreement, read
from kinema_world.vocabulary import BACKGROUNDS

SIDE = 48


def _clips(kind: SceneKind, count: int = 6) -> list[DrawnClip]:
    shapes = ShapeMix(frames=(24,), fps=(12,), sides=(SIDE, SIDE))
    world = World(WorldConfig(seed=4, kinds={kind: 1.0}, shapes=shapes))
    return [world.sample(index) for index in range(count)]


def _drawn(places: list[tuple[float, float] | None], *, shape: str = "circle", colour: str = "red") -> Video:
    """A disc of 7 px over black, at a place for every frame."""
    video = np.zeros((len(places), SIDE, SIDE, 3), np.uint8)
    grid = np.arange(SIDE, dtype=np.float32) + 0.5
    for frame, place in enumerate(places):
        if place is not None:
            alpha = coverage(shape, grid[:, None] - np.float32(place[1]), grid - np.float32(place[0]), 7.0)
            video[frame] = alpha[..., None] * COLOURS[colour]
    return video


@pytest.mark.parametrize("level", [0, 64, 128, 255])
def test_an_empty_clip_has_no_objects(level: int) -> None:
    reading = read(np.full((8, 32, 32, 3), level, np.uint8), 8)
    colours = [thing.colour for shot in reading.shots for thing in shot.objects if thing.shape]
    assert colours == []
    assert reading.facts.kind is None


def test_noise_is_nothing_that_can_be_named() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    for shot in read(noise, 8).shots:
        assert all(thing.shape is None and thing.motion is None for thing in shot.objects)


def test_one_frame_has_no_motion() -> None:
    (thing,) = read(_drawn([(20, 20)]), 8).shots[0].objects
    assert (thing.shape, thing.motion, thing.velocity) == ("circle", None, None)


def test_a_jump_is_no_motion() -> None:
    places = [(10.0, 24.0)] * 8 + [(38.0, 24.0)] * 8
    (thing,) = read(_drawn([*places]), 8).shots[0].objects
    assert thing.motion is None


def test_a_turn_in_mid_air_is_no_bounce() -> None:
    there = [(12.0 + frame, 24.0) for frame in range(10)]
    (thing,) = read(_drawn([*there, *there[::-1]]), 8).shots[0].objects
    assert thing.motion is None
    assert thing.bounces == ()


def test_a_heading_between_two_words_has_none() -> None:
    places: list[tuple[float, float] | None] = [(10 + 2 * t, 12 + 2 * t * np.tan(np.radians(22.5))) for t in range(12)]
    reading = read(_drawn(places), 12)
    assert reading.facts.shots[0].objects[0].heading is None
    assert reading.shots[0].objects[0].motion is Motion.STRAIGHT


def test_what_vanishes_without_a_screen_is_not_hidden() -> None:
    places: list[tuple[float, float] | None] = [(8.0 + 2 * frame, 24.0) for frame in range(16)]
    places[6:10] = [None] * 4
    (thing,) = read(_drawn(places), 8).shots[0].objects
    assert thing.occlusion is None
    assert thing.motion is None


def test_what_comes_back_elsewhere_has_not_passed_behind() -> None:
    read_as_passing = 0
    for clip in _clips(SceneKind.OCCLUDE):
        (track,) = clip.scene.tracks
        hidden = np.flatnonzero(track.visible < 1e-9)
        broken = clip.video.copy()
        # What comes out runs backwards: from the last frame to the first one after the screen.
        broken[hidden[-1] + 1 :] = broken[hidden[-1] + 1 :][::-1]
        (thing,) = read(broken, 12).shots[0].objects
        read_as_passing += thing.motion is Motion.PASS
    assert read_as_passing == 0


def test_a_trail_that_fades_does_not_stay() -> None:
    for clip in _clips(SceneKind.PAINT):
        (track,) = clip.scene.tracks
        video = clip.video.copy()
        trail = np.array(COLOURS[str(track.trail)])
        background = BACKGROUNDS[clip.scene.shots[0].background]
        rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
        for frame in range(len(video)):
            x, y = track.positions[max(0, frame - 5)]
            across, down = np.sign(track.velocities[0])
            old = ((columns - x) * across + (rows - y) * down) < 0
            inked = np.abs(video[frame].astype(int) - trail).max(axis=-1) < 100
            video[frame][old & inked] = background
        facts = read(video, 12).facts
        assert all(thing.trail is None for thing in facts.shots[0].objects)


def test_a_slow_fade_is_no_cut() -> None:
    steps = np.linspace(0, 1, 16)[:, None]
    colours = (1 - steps) * BACKGROUNDS["dark blue"] + steps * BACKGROUNDS["dark green"]
    video = np.broadcast_to(colours[:, None, None], (16, 32, 32, 3)).astype(np.uint8)
    assert read(video, 8).cut is None


def test_played_backwards_motions_turn() -> None:
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    for clip in _clips(SceneKind.SEVERAL):
        facts = read(clip.video[::-1].copy(), 12).facts
        turned = {thing.colour: thing.heading for thing in facts.shots[0].objects}
        assert turned == {track.appearance.colour: opposite[str(track.heading)] for track in clip.scene.tracks}


def test_a_fall_backwards_is_no_fall() -> None:
    for clip in _clips(SceneKind.GRAVITY):
        (thing,) = read(clip.video[::-1].copy(), 12).shots[0].objects
        assert thing.motion is not Motion.FALL


def test_the_wrong_objects_are_marked_wrong() -> None:
    first, second = _clips(SceneKind.SEVERAL)[:2]
    marks = agreement(first.scene.facts, read(second.video, 12).facts)
    assert not all(marks.values())
    assert all(agreement(second.scene.facts, read(second.video, 12).facts).values())


@pytest.mark.parametrize("shape", [(8, 32, 32), (0, 32, 32, 3), (8, 32, 32, 4)])
def test_what_is_no_clip_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ClipError, match="uint8"):
        read(np.zeros(shape, np.uint8), 8)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_no_rate_is_refused(fps: float) -> None:
    with pytest.raises(ClipError, match="fps"):
        read(np.zeros((8, 32, 32, 3), np.uint8), fps)

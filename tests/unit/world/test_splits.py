"""What is held out is never shown in training, and nothing single is lost."""

import pytest

from kinema_world import COLOURS, DIRECTIONS, SHAPES, SPEEDS, Motion, Scene, SceneKind, World, WorldConfig
from kinema_world.splits import BANDS, HELD_OUT_BANDS, combination_held_out, speed_held_out
from kinema_world.vocabulary import speed_word

SCENES = 800


def _held_out(scene: Scene) -> bool:
    for track in scene.tracks:
        motion = track.motion or Motion.STILL
        if combination_held_out(track.appearance.colour, track.appearance.shape, motion, track.heading):
            return True
        if track.speed is not None and speed_held_out(track.speed):
            return True
    return any(shot.pan_speed is not None and speed_held_out(shot.pan_speed) for shot in scene.shots)


def _words(world: World) -> dict[str, set[str]]:
    seen: dict[str, set[str]] = {"colour": set(), "shape": set(), "motion": set(), "speed": set()}
    for index in range(SCENES):
        scene = world.scene(index)
        assert not _held_out(scene)
        for track in scene.tracks:
            seen["colour"].add(track.appearance.colour)
            seen["shape"].add(track.appearance.shape)
            seen["motion"].add(f"{track.motion} {track.heading}")
            if track.speed is not None:
                assert track.speed <= 1.1
                seen["speed"].add(str(speed_word(track.speed)))
    return seen


def test_training_shows_every_word_and_nothing_held_out() -> None:
    seen = _words(World(WorldConfig(split="train")))
    assert seen["colour"] == set(COLOURS)
    assert seen["shape"] == set(SHAPES)
    assert seen["speed"] == set(SPEEDS)
    for motion in (Motion.STRAIGHT, Motion.PASS, Motion.PAINT, Motion.HIT, Motion.STRUCK, Motion.BOUNCE):
        assert {f"{motion} {heading}" for heading in DIRECTIONS} <= seen["motion"]


@pytest.mark.parametrize("kind", SceneKind)
def test_held_out_scenes_hold_something_held_out(kind: SceneKind) -> None:
    world = World(WorldConfig(split="held-out", kinds={kind: 1.0}))
    assert all(_held_out(world.scene(index)) for index in range(60))


def test_about_one_combination_in_eight_is_held_out() -> None:
    every = [
        combination_held_out(colour, shape, motion, heading)
        for colour in COLOURS
        for shape in SHAPES
        for motion in Motion
        for heading in (*DIRECTIONS, None)
    ]
    assert 1 / 11 < sum(every) / len(every) < 1 / 6


def test_held_out_speeds_lie_inside_the_range_and_beyond_it() -> None:
    assert len(HELD_OUT_BANDS) == 3
    shown = [band for band in range(len(BANDS)) if band not in HELD_OUT_BANDS]
    inside = sorted(HELD_OUT_BANDS)[:-1]
    assert shown[0] < inside[0]
    assert inside[-1] < shown[-1] < len(BANDS) - 1 == max(HELD_OUT_BANDS)


def test_the_split_never_changes() -> None:
    """A new hash would let a trained model be marked on what it has seen."""
    simple = [
        (colour, shape, heading)
        for colour in COLOURS
        for shape in SHAPES
        for heading in DIRECTIONS
        if combination_held_out(colour, shape, Motion.STRAIGHT, heading)
    ]
    assert (simple, sorted(HELD_OUT_BANDS)) == (HELD_OUT_SIMPLE, [1, 6, 12])


HELD_OUT_SIMPLE = [
    ("red", "triangle", "up"),
    ("green", "square", "right"),
    ("green", "circle", "up"),
    ("blue", "circle", "left"),
    ("blue", "triangle", "left"),
    ("blue", "triangle", "up"),
    ("magenta", "circle", "down"),
    ("magenta", "triangle", "up"),
    ("white", "circle", "up"),
]

"""Every kind of scene keeps its promises in every shape, and bad settings are refused by name."""

from typing import Any

import numpy as np
import pytest
import torch

from kinema_world import (
    COLOURS,
    DIRECTIONS,
    Motion,
    Scene,
    SceneKind,
    ShapeMix,
    World,
    WorldConfig,
    caption_of,
    combinations,
    prompts,
)
from kinema_world.casting import inside
from kinema_world.errors import ClipError, WorldConfigError, WorldError
from kinema_world.scene import ClipShape

pytestmark = pytest.mark.slow


SCENES = 60
MOVING = tuple(kind for kind in SceneKind if kind not in (SceneKind.SIMPLE, SceneKind.IMAGE))


def _scenes(kind: SceneKind, count: int = SCENES, **settings: Any) -> list[Scene]:
    world = World(WorldConfig(kinds={kind: 1.0}, **settings))
    return [world.scene(index) for index in range(count)]


@pytest.mark.parametrize("kind", SceneKind)
def test_state_covers_every_frame_of_every_object(kind: SceneKind) -> None:
    for scene in _scenes(kind):
        assert scene.kind is kind
        assert sum(shot.frames for shot in scene.shots) == scene.shape.frames
        for shot in scene.shots:
            for track in shot.tracks:
                assert track.positions.shape == track.velocities.shape == (shot.frames, 2)
                assert track.visible.shape == (shot.frames,)
                assert len(track.hidden_by) == shot.frames
                assert ((track.visible >= -1e-9) & (track.visible <= 1 + 1e-9)).all()


@pytest.mark.parametrize("kind", MOVING)
def test_objects_stay_in_the_frame_and_differ_in_colour(kind: SceneKind) -> None:
    for scene in _scenes(kind):
        for shot in scene.shots:
            assert len({track.appearance.colour for track in shot.tracks}) == len(shot.tracks)
            for track in shot.tracks:
                for axis, (low, high) in enumerate(inside(track.appearance, scene.shape)):
                    assert track.positions[:, axis].min() >= low - 1e-6
                    assert track.positions[:, axis].max() <= high + 1e-6


def test_an_occluded_object_is_hidden_and_comes_back_on_its_line() -> None:
    for scene in _scenes(SceneKind.OCCLUDE):
        (track,) = scene.tracks
        hidden = np.flatnonzero(track.visible < 1e-9)
        assert len(hidden) >= 1
        assert track.visible[:2] == pytest.approx([1, 1])
        assert track.visible[-2:] == pytest.approx([1, 1])
        assert (np.diff(hidden) == 1).all()
        assert {track.hidden_by[frame] for frame in hidden} == {"screen"}
        times = np.arange(scene.shape.frames)[:, None] / scene.shape.fps
        assert track.positions == pytest.approx(track.positions[0] + times * track.velocities[0])


def test_a_pan_moves_the_screen_against_the_world() -> None:
    for scene in _scenes(SceneKind.PAN):
        (shot,), (track,) = scene.shots, scene.tracks
        assert shot.pan is not None
        assert shot.pan_speed is not None
        seconds = np.arange(shot.frames)[:, None] / scene.shape.fps
        expected = seconds * shot.pan_speed * scene.shape.side * np.array(DIRECTIONS[shot.pan])
        assert shot.camera == pytest.approx(expected)
        assert track.world_positions == pytest.approx(track.positions + shot.camera)
        if track.motion is Motion.STILL:
            assert np.ptp(track.world_positions, axis=0) == pytest.approx([0, 0], abs=1e-9)


def test_two_shots_share_one_object() -> None:
    for scene in _scenes(SceneKind.TWO_SHOT):
        first, second = scene.shots
        assert first.background != second.background
        assert first.tracks[0].appearance == second.tracks[0].appearance
        assert scene.cut == first.frames
        colours = {track.appearance.colour for track in scene.tracks}
        assert len(colours) == len(scene.tracks) - 1


def test_images_have_one_frame() -> None:
    assert {scene.shape.frames for scene in _scenes(SceneKind.IMAGE)} == {1}


def test_a_scene_belongs_to_its_seed_and_index() -> None:
    world, again, other = (World(WorldConfig(seed=seed)) for seed in (5, 5, 6))
    for index in range(12):
        first, same = world.sample(index), again.sample(index)
        assert np.array_equal(first.video, same.video)
        assert first.scene.captions == same.scene.captions
    rich = [[one.scene(index).captions.rich for index in range(12)] for one in (world, other)]
    assert rich[0] != rich[1]
    assert len(set(rich[0])) == 12


def test_kinds_come_by_their_weights() -> None:
    config = WorldConfig(kinds={SceneKind.SIMPLE: 3.0, SceneKind.IMAGE: 1.0, SceneKind.PAN: 0.0})
    drawn = [World(config).scene(index).kind for index in range(400)]
    assert set(drawn) == {SceneKind.SIMPLE, SceneKind.IMAGE}
    assert 260 < drawn.count(SceneKind.SIMPLE) < 340


@pytest.mark.parametrize("patch", [(8, 8), (16, 16), (4, 12)])
def test_shapes_stay_within_the_mix(patch: tuple[int, int]) -> None:
    mix = ShapeMix(frames=(16, 24), fps=(8, 24), sides=(32, 96), patch=patch)
    world = World(WorldConfig(kinds={SceneKind.SEVERAL: 1.0}, shapes=mix))
    shapes = [world.scene(index).shape for index in range(80)]
    assert {(shape.frames, shape.fps) for shape in shapes} == {(16, 8), (16, 24), (24, 8), (24, 24)}
    for shape in shapes:
        assert min(shape.height, shape.width) >= 32
        assert max(shape.height, shape.width) <= 96
        assert shape.height % patch[0] == shape.width % patch[1] == 0
        assert 9 / 16 <= shape.width / shape.height <= 16 / 9
    assert len({(shape.height, shape.width) for shape in shapes}) > 5


def test_simple_scenes_start_near_the_centre_and_cross_a_third() -> None:
    world = World.fixed(7, 8, 24, 24, 8)
    seen = set()
    for index in range(1500):
        scene = world.scene(index)
        (track,) = scene.tracks
        seen.add(scene.attributes)
        assert np.abs(track.positions[0] - 12).max() <= 0.03 * 24
        travel = np.linalg.norm(track.positions[-1] - track.positions[0])
        assert 0.27 * 24 <= travel <= 0.33 * 24
        assert 0.22 * 24 <= track.appearance.radius <= 0.25 * 24
        assert track.velocities[0] == pytest.approx((track.positions[-1] - track.positions[0]) * 8 / 7)
    assert seen == set(combinations())


def test_prompts_are_balanced_and_set_by_seed() -> None:
    drawn = prompts(144, 1)
    assert drawn == prompts(144, 1)
    assert drawn != prompts(144, 2)
    assert all(caption_of(attributes) == prompt for prompt, attributes in drawn)
    assert {drawn.count(item) for item in drawn} == {2}
    assert {attributes.colour for _, attributes in drawn} == set(COLOURS)


def test_clips_are_the_samples_of_their_numbers() -> None:
    world = World.fixed(7, 8, 24, 24, 8)
    for index, (video, scene) in zip([9, 2, 30], world.clips([9, 2, 30]), strict=True):
        clip = world.sample(index)
        # Drawn together or alone, a sum of floats may round the other way.
        assert np.abs(video.numpy().astype(int) - clip.video).max() <= 1
        assert scene.captions.short == clip.caption


def test_clips_of_several_shapes_come_one_by_one() -> None:
    world = World(WorldConfig(shapes=ShapeMix(frames=(16,), sides=(32, 64))))
    clips = world.clips(range(12))
    for video, scene in clips:
        shape = scene.shape
        assert video.shape == (shape.frames, shape.height, shape.width, 3)
        assert video.dtype == torch.uint8


@pytest.mark.parametrize(
    ("settings", "error", "field"),
    [
        ({"kinds": {"ballet": 1.0}}, WorldConfigError, "kinds"),
        ({"kinds": {"pan": 0.0}}, WorldConfigError, "kinds"),
        ({"kinds": {"pan": -1.0}}, WorldConfigError, "kinds"),
        ({"kinds": {"pan": float("nan")}}, WorldConfigError, "kinds"),
        ({"split": "test"}, WorldConfigError, "split"),
        ({"seed": -1}, WorldConfigError, "seed"),
        ({"shapes": {"sides": (16, 64)}}, ClipError, "sides"),
        ({"shapes": {"sides": (32, 256)}}, ClipError, "sides"),
        ({"shapes": {"sides": (33, 35)}}, ClipError, "sides"),
        ({"shapes": {"aspects": (0.25, 4.0)}}, ClipError, "aspects"),
        ({"shapes": {"fps": (0,)}}, ClipError, "fps"),
        ({"shapes": {"fps": (-8,)}}, ClipError, "fps"),
        ({"shapes": {"fps": (10,)}}, ClipError, "fps"),
        ({"shapes": {"frames": (10_000,)}}, ClipError, "frames"),
        ({"shapes": {"frames": ()}}, ClipError, "frames"),
        ({"shapes": {"patch": (0, 8)}}, ClipError, "patch"),
        ({"shapes": {"frames": (4,)}}, WorldConfigError, "frames"),
        ({"shapes": {"colours": 3}}, WorldConfigError, "colours"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], error: type[WorldError], field: str) -> None:
    with pytest.raises(error, match=field) as caught:
        WorldConfig(**settings)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("shape", [(0, 24, 24, 8), (8, 0, 24, 8), (8, 24, 24, 0), (10_000, 24, 24, 8), (8, 4, 24, 8)])
def test_an_impossible_fixed_world_is_refused(shape: tuple[int, int, int, int]) -> None:
    with pytest.raises(ClipError):
        World.fixed(0, *shape)


def test_a_clip_knows_its_unit_and_length() -> None:
    shape = ClipShape(25, 64, 32, 12)
    assert (shape.side, shape.seconds) == (32, 2.0)

"""What is drawn is what the truth says."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kinema_world import COLOURS, SHAPES, SceneKind, ShapeMix, World, WorldConfig, coverage, draw, draw_many, drawing
from kinema_world.geometry import AREAS, area_before
from kinema_world.vocabulary import BACKGROUNDS


def _share(video: NDArray[np.uint8], colour: str, background: str) -> NDArray[np.float64]:
    """How far each pixel (T, H, W) lies on the way from the background to a colour."""
    base = np.array(BACKGROUNDS[background], dtype=np.float64)
    way = np.array(COLOURS[colour]) - base
    return np.asarray((video - base) @ way / (way @ way))


@pytest.mark.parametrize("shape", SHAPES)
def test_areas_are_exact_and_nearly_equal(shape: str) -> None:
    grid = np.arange(-60, 60, dtype=np.float32) + 0.5
    area = float(coverage(shape, grid[:, None], grid, 30.0).sum())
    assert area == pytest.approx(AREAS[shape] * 30**2, rel=0.01)
    assert area == pytest.approx(np.pi * 30**2, rel=0.1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_the_hidden_share_is_the_area_behind_the_edge(shape: str, axis: int) -> None:
    grid = np.arange(-60, 60, dtype=np.float32) + 0.5
    mask = coverage(shape, grid[:, None], grid, 30.0)
    along = mask.sum(axis=axis)
    for edge in (-40, -20, 0, 7, 25, 50):
        drawn = along[grid < edge].sum() / along.sum()
        assert float(area_before(shape, axis, np.array([edge / 30]))[0]) == pytest.approx(drawn, abs=0.01)


@pytest.mark.parametrize("kind", [SceneKind.SIMPLE, SceneKind.BOUNCE, SceneKind.GRAVITY, SceneKind.IMAGE])
def test_the_centre_of_mass_is_the_stated_position(kind: SceneKind) -> None:
    world = World(WorldConfig(kinds={kind: 1.0}, shapes=ShapeMix(frames=(16,), sides=(64, 64))))
    for index in range(8):
        clip = world.sample(index)
        (shot,) = clip.scene.shots
        if len(shot.tracks) > 1:
            continue
        mass = _share(clip.video, shot.tracks[0].appearance.colour, shot.background).clip(0.02, 1) - 0.02
        rows, columns = np.arange(64)[:, None] + 0.5, np.arange(64) + 0.5
        total = mass.sum(axis=(1, 2))
        centres = np.stack(((mass * columns).sum((1, 2)) / total, (mass * rows).sum((1, 2)) / total), axis=1)
        whole = shot.tracks[0].visible > 0.999
        assert whole[0]
        assert np.abs(centres - shot.tracks[0].positions)[whole].max() < 0.4


def test_visible_shares_are_what_is_drawn() -> None:
    world = World(WorldConfig(kinds={SceneKind.OCCLUDE: 1.0}, shapes=ShapeMix(frames=(32,), sides=(96, 96))))
    for index in range(8):
        clip = world.sample(index)
        (_shot,), (track,) = clip.scene.shots, clip.scene.tracks
        colour = np.array(COLOURS[track.appearance.colour])
        near = np.abs(clip.video.astype(int) - colour).max(axis=-1) < 60
        drawn = near.sum(axis=(1, 2)) / near[0].sum()
        assert drawn == pytest.approx(track.visible, abs=0.12)


def test_a_trail_never_vanishes() -> None:
    world = World(WorldConfig(kinds={SceneKind.PAINT: 1.0}, shapes=ShapeMix(frames=(16,), sides=(48, 64))))
    for index in range(12):
        clip = world.sample(index)
        (track,) = clip.scene.tracks
        trail, brush = (np.array(COLOURS[str(name)]) for name in (track.trail, track.appearance.colour))
        painted = np.abs(clip.video.astype(int) - trail).max(axis=-1) < 20
        brushed = np.abs(clip.video.astype(int) - brush).max(axis=-1) < 250
        assert painted[-1].sum() > 10
        for frame in range(len(painted) - 1):
            lost = painted[frame] & ~painted[frame + 1] & ~brushed[frame + 1]
            assert not lost.any()


def test_the_recurring_object_is_drawn_alike_in_both_shots() -> None:
    world = World(WorldConfig(kinds={SceneKind.TWO_SHOT: 1.0}, shapes=ShapeMix(frames=(16,), sides=(64, 64))))
    for index in range(8):
        clip = world.sample(index)
        areas = []
        for shot in clip.scene.shots:
            part = clip.video[shot.first : shot.first + shot.frames]
            mass = np.abs(part.astype(int) - COLOURS[shot.tracks[0].appearance.colour]).max(axis=-1) < 60
            areas.append(mass.sum(axis=(1, 2)).mean())
        assert areas[0] == pytest.approx(areas[1], rel=0.12)


def test_the_background_is_the_named_colour() -> None:
    for index in range(30):
        clip = World(WorldConfig(kinds={SceneKind.PAN: 1.0, SceneKind.TWO_SHOT: 1.0})).sample(index)
        for shot in clip.scene.shots:
            pixels = clip.video[shot.first].reshape(-1, 3)
            named = (pixels == np.array(BACKGROUNDS[shot.background])).all(axis=-1)
            assert named.mean() > 0.15


def test_together_or_alone_clips_are_the_same() -> None:
    world = World(WorldConfig(shapes=ShapeMix(frames=(16,), sides=(32, 40))))
    scenes = [world.scene(index) for index in range(30)]
    for scene, video in zip(scenes, draw_many(scenes), strict=True):
        assert torch.equal(video, draw(scene))


def test_many_clips_at_once_are_drawn_as_one_by_one() -> None:
    """What a device does in one go, held against what a CPU does clip by clip."""
    world = World(WorldConfig(shapes=ShapeMix.fixed(24, 48, 48, 12)))
    scenes = [world.scene(index) for index in range(30)]
    long = [scene for scene in scenes if scene.kind is not SceneKind.IMAGE]
    together = drawing._draw(long, torch.device("cpu"))
    for scene, video in zip(long, together, strict=True):
        assert (video.int() - draw(scene).int()).abs().max() <= 1

"""Marks of clips tell true clips from still ones, and patches that do not fit from those that do."""

from __future__ import annotations

import numpy as np
import pytest

from bench.clip_marks import Marks, blurred, edge_error, edge_jumps, marks, stilled
from kinema_world import Scene, Video, World

SCENES: list[Scene] = [World.fixed(2**33, 8, 24, 24, 8).scene(index) for index in range(24)]
CELL = (8, 8)


@pytest.fixture(scope="module")
def truth() -> Video:
    world = World.fixed(2**33, 8, 24, 24, 8)
    return np.stack([world.sample(index).video for index in range(len(SCENES))])


def blocky(clips: Video) -> Video:
    """Clips whose patches are each a little brighter or darker than they should be."""
    off = np.random.default_rng(0).integers(-40, 40, (*clips.shape[:2], 3, 3, 1)).repeat(8, 2).repeat(8, 3)
    return np.asarray((clips.astype(int) + off).clip(0, 255), dtype=np.uint8)


def test_true_clips_have_all_marks(truth: Video) -> None:
    assert marks(SCENES, truth) == Marks(1, 1, 1, 1, 1)


def test_a_still_object_is_steady_and_goes_nowhere(truth: Video) -> None:
    found = marks(SCENES, stilled(truth))
    assert (found.colour, found.direction, found.even) == (1, 0, 0)


def test_an_object_that_stops_half_way_is_neither_steady_nor_even(truth: Video) -> None:
    stopped = np.concatenate((truth[:, :4], np.repeat(truth[:, 4:5], 4, axis=1)), axis=1)
    found = marks(SCENES, stopped)
    assert found.direction == 1
    assert (found.steady, found.even) == (0, 0)


def test_patches_that_do_not_fit_differ_at_their_edges(truth: Video) -> None:
    true = edge_jumps(truth, CELL)
    assert edge_jumps(blocky(truth), CELL) > 1.2 * true
    assert edge_jumps(blurred(truth), CELL) == pytest.approx(true, rel=0.1)


def test_errors_are_told_beside_edges_over_those_elsewhere(truth: Video) -> None:
    beside = np.isin(np.arange(24), (7, 8, 15, 16))
    off = np.where(beside[:, None] | beside[None], 64, 16).astype(np.uint8)[:, :, None]
    assert edge_error(truth ^ off, truth, CELL) == pytest.approx(4)
    assert edge_error(truth ^ np.uint8(64), truth, CELL) == pytest.approx(1)

"""Shots end at cuts, dissolves and fades, and nowhere else; clips of a shot are of the wanted length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_dataset.cuts import Shot, clips, shots
from kinema_dataset.errors import DatasetError, FramesError
from kinema_dataset.frames import Frames
from unit.dataset.pictures import panned

ONE, TWO = panned(1, 24, 60, 80), panned(7, 24, 60, 80)


def mixed(first: Frames, second: Frames, over: int) -> Frames:
    """`first`, the last `over` frames of which dissolve into the first ones of `second`."""
    weight = (np.arange(1, over + 1) / (over + 1))[:, None, None, None]
    between = first[-over:] * (1 - weight) + second[:over] * weight
    return np.concatenate([first[:-over], between.astype(np.uint8), second[over:]])


def test_a_moving_shot_is_one() -> None:
    assert shots(iter(ONE), 25) == (Shot(0, 24),)


def test_hard_cuts_are_found_to_the_frame() -> None:
    assert shots(np.concatenate([ONE, TWO, ONE[:10]]), 25) == (Shot(0, 24), Shot(24, 48), Shot(48, 58))


@pytest.mark.parametrize("over", [8, 12])
def test_the_frames_of_a_dissolve_belong_to_no_shot(over: int) -> None:
    slow = [panned(seed, 24, 60, 80, step=0.4) for seed in (1, 7)]
    found = shots(mixed(slow[0], slow[1], over), 25)
    assert len(found) == 2
    assert found[0].end <= 24 - over + 1
    assert found[1].first >= 23


def test_a_fade_through_black_separates_shots() -> None:
    black = np.zeros_like(ONE[:14])
    found = shots(mixed(mixed(ONE, black, 6), TWO, 6), 25)
    assert len(found) == 2
    assert found[0].end <= 20
    assert found[1].first >= 30


def test_a_video_without_frames_has_no_shots() -> None:
    assert shots([], 25) == ()
    assert shots(np.zeros_like(ONE), 25) == (), "and neither has black"


def test_frames_that_change_their_form_are_refused() -> None:
    with pytest.raises(FramesError, match="frame 1 is uint8"):
        shots([ONE[0], ONE[0, :30]], 25)
    with pytest.raises(FramesError, match="fps is 0"):
        shots([ONE[0]], 0)


@given(st.integers(0, 50), st.integers(1, 2000), st.integers(1, 60), st.integers(0, 200))
def test_clips_cover_their_shot_in_wanted_lengths(first: int, frames: int, least: int, more: int) -> None:
    most = 2 * least - 1 + more
    found = clips(Shot(first, first + frames), least, most)
    assert (found[0].first, found[-1].end) == (first, first + frames)
    assert all(a.end == b.first for a, b in pairwise(found))
    assert all(part.frames <= most for part in found)
    assert frames < least or all(part.frames >= least for part in found)


@given(st.integers(0, 50), st.integers(1, 400), st.integers(1, 60), st.integers(0, 200))
def test_clips_of_a_model_with_one_length_have_that_length(first: int, frames: int, least: int, more: int) -> None:
    found = clips(Shot(first, first + frames), least, least + more)
    assert all(a.end <= b.first for a, b in pairwise(found))
    assert found[0].first >= first
    assert found[-1].end <= first + frames
    assert frames < least or all(least <= part.frames <= least + more for part in found)
    assert sum(part.frames for part in found) > frames - least, "less is left over than would make a clip"


@pytest.mark.parametrize(("least", "most"), [(0, 5), (6, 5)])
def test_lengths_that_no_shot_can_be_cut_into_are_refused(least: int, most: int) -> None:
    with pytest.raises(DatasetError, match="least"):
        clips(Shot(0, 9), least, most)

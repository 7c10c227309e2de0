"""Each score tells what it is for from what it is not for, and refuses what is not frames."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_dataset.errors import FramesError
from kinema_dataset.frames import Frames, inside, spread
from kinema_dataset.records import Bars
from kinema_dataset.scores import bars, brightness, motion, scores_of, sharpness, stillness, text
from kinema_dataset.thresholds import DEFAULTS, verdict
from unit.dataset.pictures import panned, picture

CLIP = panned(1)


@pytest.mark.parametrize("score", [bars, brightness, motion, sharpness, stillness, text])
@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.float32), np.zeros((0, 8, 8, 3), np.uint8)]
)
def test_what_is_not_frames_is_refused(score: Callable[[Frames], object], wrong: Frames) -> None:
    with pytest.raises(FramesError, match="give uint8"):
        score(wrong)


@settings(max_examples=examples(20))
@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70), st.integers(0, 255))
def test_frames_of_any_size_have_scores(count: int, height: int, width: int, level: int) -> None:
    found = scores_of(np.full((count, height, width, 3), level, np.uint8))
    assert found.bars == Bars()
    assert found.brightness == pytest.approx(level / 255, abs=0.01)
    assert (found.stillness, found.text) == (1.0, 0.0)


def test_a_moving_sharp_clip_passes() -> None:
    assert verdict(scores_of(CLIP), len(CLIP)).kept


def test_repeated_frames_are_still_whatever_the_grain() -> None:
    grain = np.random.default_rng(0).normal(0, 2, CLIP.shape)
    held = np.repeat(CLIP[:1], len(CLIP), 0)
    assert stillness((held + grain).clip(0, 255).astype(np.uint8)) == 1
    assert stillness(np.repeat(CLIP[:8], 2, 0)) == pytest.approx(8 / 15)
    assert stillness(CLIP) == 0


@pytest.mark.parametrize("step", [0.5, 2.0, 4.0])
def test_motion_is_pixels_a_frame_of_the_shorter_side(step: float) -> None:
    clip = np.stack([_shifted(picture(3, 120, 200), step * i) for i in range(8)])
    assert motion(clip) == pytest.approx(step / 120, rel=0.35)


def _shifted(image: np.ndarray, by: float) -> np.ndarray:
    matrix = np.float32([[1, 0, -by], [0, 1, 0]])
    return cv2.warpAffine(image, matrix, (160, 120), flags=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def test_blur_takes_sharpness_away() -> None:
    noisy = (CLIP.astype(np.float32) + np.random.default_rng(2).normal(0, 12, CLIP.shape)).clip(0, 255).astype(np.uint8)
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 4) for frame in noisy])
    assert sharpness(noisy) > 0.6
    assert sharpness(blurred) < 0.35
    half = noisy.copy()
    half[:, :, 60:] = blurred[:, :, 60:]
    assert sharpness(half) > 0.6, "a subject in focus is enough"


def test_brightness_is_the_mean_luma() -> None:
    assert brightness(CLIP // 16) < DEFAULTS.min_brightness < brightness(CLIP)
    assert brightness(np.full_like(CLIP, 255)) == 1


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize(("top", "bottom", "left", "right"), [(9, 9, 0, 0), (0, 0, 14, 20), (7, 0, 0, 0), (5, 6, 7, 8)])
def test_bars_are_found_to_the_pixel(colour: int, top: int, bottom: int, left: int, right: int) -> None:
    boxed = np.full_like(CLIP, colour)
    boxed[:, top : 90 - bottom, left : 120 - right] = CLIP[:, top : 90 - bottom, left : 120 - right]
    found = bars(boxed)
    assert found == Bars(top=top, bottom=bottom, left=left, right=right)
    assert bars(inside(boxed, found)) == Bars()


def test_a_dark_sky_is_no_bar() -> None:
    night = CLIP.copy()
    rows, columns = np.mgrid[:90, :120]
    night[:, rows < 30 + 20 * np.sin(columns / 15)] = 4
    assert bars(night) == Bars()


@pytest.mark.parametrize("font", [cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX])
@pytest.mark.parametrize("ink", [(255, 255, 255), (0, 0, 0)])
def test_text_over_a_clip_is_found_where_it_is(font: int, ink: tuple[int, int, int]) -> None:
    clip = panned(4, 6, 270, 480) // 2 + 60
    written = clip.copy()
    for frame in written:
        cv2.putText(frame, "Chapter one", (60, 230), font, 1.0, ink, 2, cv2.LINE_AA)
    assert text(clip) == 0
    assert 0.02 < text(written) < 0.08


def test_letters_that_move_with_the_scene_are_not_overlaid() -> None:
    clip = panned(4, 10, 270, 480) // 2 + 60
    for index, frame in enumerate(clip):
        cv2.putText(frame, "Chapter one", (20 + 12 * index, 230), cv2.FONT_HERSHEY_DUPLEX, 1.0, (255, 255, 255), 2)
    assert text(clip) == 0


def test_bars_that_leave_nothing_are_refused() -> None:
    with pytest.raises(FramesError, match="cover the whole frame"):
        inside(CLIP, Bars(top=45, bottom=45))


@given(st.integers(1, 500), st.integers(1, 40))
def test_frames_are_looked_at_from_first_to_last(count: int, most: int) -> None:
    found = spread(count, most)
    assert len(found) == min(count, most)
    assert found == sorted(set(found))
    assert all(0 <= index < count for index in found)
    assert most == 1 or (found[0], found[-1]) == (0, count - 1)

"""Stored clips have sizes that a model takes, and show what the frames show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_dataset.errors import FramesError
from kinema_dataset.fitting import Fit, fitted, fitting
from unit.dataset.pictures import panned

sides = st.integers(1, 9000)
cells = st.tuples(st.sampled_from([1, 2, 8, 16, 32]), st.sampled_from([1, 2, 8, 16, 32]))


@given(sides, sides, st.integers(1, 1 << 21), cells)
def test_sizes_are_whole_cells_within_the_area(height: int, width: int, area: int, cell: tuple[int, int]) -> None:
    found = fitting(height, width, area, cell)
    assert (found.height % cell[0], found.width % cell[1]) == (0, 0)
    assert min(found.height, found.width) >= 1
    assert found.height * found.width <= max(area, cell[0] * cell[1])
    assert found.height < height + cell[0]
    assert found.width < width + cell[1]


@given(st.integers(200, 4000), st.integers(200, 4000), st.integers(1 << 15, 1 << 20))
def test_the_aspect_stays(height: int, width: int, area: int) -> None:
    found = fitting(height, width, area, (8, 8))
    scale = min(1.0, (area / (height * width)) ** 0.5)
    assert abs(found.height - height * scale) <= 12
    assert abs(found.width - width * scale) <= 12


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (91, 161), (7, 200), (200, 7), (64, 64)])
def test_frames_are_covered_and_cropped_around_the_middle(height: int, width: int) -> None:
    frames = np.zeros((2, height, width, 3), np.uint8)
    frames[:, height // 2, :] = 255
    frames[:, :, width // 2] = 255
    made = fitted(frames, fitting(height, width, 64 * 64, (8, 8)))
    light = made[0, ..., 0].astype(float)
    middle = light.sum(1).argmax(), light.sum(0).argmax()
    assert abs(middle[0] - made.shape[1] // 2) <= 1 + made.shape[1] // 16
    assert abs(middle[1] - made.shape[2] // 2) <= 1 + made.shape[2] // 16


def test_frames_that_fit_stay_as_they_are() -> None:
    frames = panned(1, 3, 64, 96)
    assert fitting(64, 96, 64 * 96, (8, 8)) == Fit(64, 96)
    assert np.array_equal(fitted(frames, Fit(64, 96)), frames)


def test_nothing_fits_nowhere() -> None:
    with pytest.raises(FramesError, match="positive"):
        fitting(0, 5, 5, (1, 1))

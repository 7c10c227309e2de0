"""Clips that are scaled and cropped to one size keep their middle and their motion."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema_dataset.own_size import covered

SIDES = st.integers(1, 40)


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 255))
def test_any_size_becomes_any_other_and_one_colour_stays(
    rows: int, columns: int, height: int, width: int, colour: int
) -> None:
    video = torch.full((2, rows, columns, 3), colour, dtype=torch.uint8)
    made = covered(video, height, width)
    assert made.shape == (2, height, width, 3)
    assert made.dtype == torch.uint8
    assert (made == colour).all()


def test_a_clip_of_that_size_stays_as_it_is() -> None:
    video = torch.randint(0, 256, (3, 24, 16, 3), dtype=torch.uint8)
    assert torch.equal(covered(video, 24, 16), video)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (12, 12), (48, 48)])
def test_what_is_cropped_lies_at_the_edges(height: int, width: int) -> None:
    video = torch.zeros(1, 16, 32, 3, dtype=torch.uint8)
    video[:, :, 12:20] = 200
    made = covered(video, height, width)
    quarter = width // 4
    assert (made[:, :, width // 2 - 1 : width // 2 + 1] > 190).all()
    assert made[:, :, :quarter].float().mean() < 10
    assert torch.equal(made, made.flip(2))

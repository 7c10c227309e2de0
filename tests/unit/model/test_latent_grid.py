"""The grid of tokens over a clip: frames, rows, positions and masks agree with each other for every codec."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema_model.codec.grid import LatentGrid
from kinema_model.codec.masks import latents_of_tokens, pixels_of_tokens, tokens_of_mask
from kinema_model.errors import ShapeError

WAN = LatentGrid((1, 2, 2), (4, 8, 8), causal=True)
PIXEL = LatentGrid((1, 8, 8))
UNSHUFFLE = LatentGrid((1, 4, 4), (4, 2, 2))
SIDES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
GRIDS = st.builds(LatentGrid, SIDES, SIDES, st.booleans())


@pytest.mark.parametrize(
    ("grid", "clip", "latents", "tokens"),
    [
        (PIXEL, (8, 24, 24), (8, 24, 24), (8, 3, 3)),
        (UNSHUFFLE, (8, 24, 16), (2, 12, 8), (2, 3, 2)),
        (WAN, (81, 480, 832), (21, 60, 104), (21, 30, 52)),
        (WAN, (1, 480, 832), (1, 60, 104), (1, 30, 52)),
    ],
)
def test_a_clip_has_the_latents_and_tokens_of_its_codec(
    grid: LatentGrid, clip: tuple[int, int, int], latents: tuple[int, int, int], tokens: tuple[int, int, int]
) -> None:
    assert (grid.latent_box(*clip), grid.tokens_box(*clip)) == (latents, tokens)


@pytest.mark.parametrize(("grid", "clip"), [(WAN, (80, 480, 832)), (PIXEL, (8, 20, 24)), (UNSHUFFLE, (6, 24, 24))])
def test_a_clip_that_is_not_whole_tokens_is_refused_with_the_sizes_that_are(
    grid: LatentGrid, clip: tuple[int, int, int]
) -> None:
    with pytest.raises(ShapeError, match="frames"):
        grid.latent_box(*clip)


def test_the_message_names_the_lengths_of_a_causal_codec() -> None:
    assert WAN.describe() == "1 plus multiples of 4 frames, 16 rows and 16 columns of pixels"


@given(GRIDS, st.integers(1, 50))
def test_rows_and_frames_are_each_others_inverse(grid: LatentGrid, rows: int) -> None:
    frames = grid.frames_of(rows)
    assert grid.rows_in(frames) == rows
    assert grid.rows_in(frames + 1) >= rows > grid.rows_in(frames - 1)
    assert grid.whole_frames(frames) == frames


@given(GRIDS, st.integers(1, 200))
def test_whole_frames_are_the_least_that_fill_rows(grid: LatentGrid, frames: int) -> None:
    whole = grid.whole_frames(frames)
    assert whole >= frames
    assert grid.frames_of(grid.rows_in(whole)) == whole
    assert grid.rows_in(frames) in (grid.rows_in(whole), grid.rows_in(whole) - 1)


@given(GRIDS, st.integers(0, 50))
def test_a_cut_at_the_first_frame_of_a_row_is_at_that_row(grid: LatentGrid, row: int) -> None:
    assert grid.row_at(grid.frames_of(row)) == row


@given(GRIDS, st.integers(0, 20), st.floats(1, 60))
def test_a_segment_a_row_later_stands_a_row_later_on_the_time_axis(grid: LatentGrid, row: int, fps: float) -> None:
    assert grid.position(row * grid.cell[0], fps, 8.0) == pytest.approx(row * grid.pace(fps, 8.0))


@given(GRIDS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**16))
def test_values_of_tokens_come_back_from_pixels_and_latents(
    grid: LatentGrid, rows: int, height: int, width: int, seed: int
) -> None:
    tokens = torch.rand(rows, height, width, generator=torch.Generator().manual_seed(seed)).round()
    pixels = pixels_of_tokens(grid, tokens)
    clip = (grid.frames_of(rows), height * grid.cell[1], width * grid.cell[2])
    assert tuple(pixels.shape) == clip
    assert tuple(latents_of_tokens(grid, tokens).shape) == grid.latent_box(*clip)
    assert torch.equal(tokens_of_mask(grid, pixels.bool()), tokens)


def test_one_pixel_of_a_hole_marks_its_token_and_no_other() -> None:
    mask = torch.zeros(9, 32, 32, dtype=torch.bool)
    mask[4, 17, 3] = True
    found = tokens_of_mask(WAN, mask)
    assert found.nonzero().tolist() == [[1, 1, 0]]

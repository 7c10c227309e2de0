"""The baseline's own patches and positions against those of the model, which it must not import."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.latte import patches, positions
from examples import examples
from kinema_model.codec.latents import whole_clip
from kinema_model.config import ModelConfig
from kinema_model.network import modulation, pack, rope
from kinema_model.network.position_channel import position_channel

sides = st.integers(1, 3)
grids = st.tuples(sides, sides, sides)


@given(grid=grids, patch=grids, clips=sides)
@settings(deadline=None, max_examples=examples(30))
def test_patches_are_those_of_a_pack_and_lead_back(grid: pack.Box, patch: pack.Box, clips: int) -> None:
    t, h, w = (cells * side for cells, side in zip(grid, patch, strict=True))
    latents = torch.arange(clips * 2 * t * h * w, dtype=torch.float32).view(clips, 2, t, h, w)
    rows = patches.patchify(latents, patch)
    assert rows.shape[1:3] == (grid[0], grid[1] * grid[2])
    assert torch.equal(rows.flatten(1, 2), torch.stack([pack.patchify(clip, patch) for clip in latents]))
    assert torch.equal(patches.unpatchify(rows, grid, patch), latents)


@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=4))
@settings(deadline=None, max_examples=examples(30))
def test_prompts_of_any_length_share_a_batch(lengths: list[int]) -> None:
    states = [torch.randn(length, 3) for length in lengths]
    text, mask = patches.padded(states)
    assert text.shape == (len(lengths), max(1, *lengths), 3)
    assert mask.sum(1).tolist() == lengths
    for row, kept, rows in zip(text, mask, states, strict=True):
        assert torch.equal(row[kept], rows)


@pytest.mark.parametrize("side", [4, 8])
def test_places_are_told_as_the_model_tells_them(side: int) -> None:
    config = ModelConfig.from_preset("tiny", height=24, width_px=16)
    clip = pack.Sample((whole_clip(config, torch.zeros(3, 8, 24, 16), 8),), torch.zeros(0, 4))
    whole = pack.pack_samples([clip], config.patch)
    features = positions.place_features((8, 3, 2), side * side).flatten(0, 1)
    assert torch.allclose(features, position_channel(whole, side * side, time=True), atol=1e-5)


def test_rotary_positions_are_those_of_the_model() -> None:
    places = torch.cartesian_prod(*(torch.arange(float(n)) for n in (3, 2, 4)))
    for mine, theirs in zip(positions.rope_table(16, (3, 2, 4)), rope.rope_table(16, places), strict=True):
        assert torch.equal(mine, theirs[:, 0])
    x = torch.randn(24, 2, 16)
    turned = positions.apply_rope(x.transpose(0, 1), positions.rope_table(16, (3, 2, 4))).transpose(0, 1)
    assert torch.allclose(turned, rope.apply_rope(x, rope.rope_table(16, places)), atol=1e-6)


def test_steps_are_told_as_the_model_tells_levels() -> None:
    steps = torch.tensor([0.0, 1.0, 333.3, 1000.0])
    assert torch.allclose(positions.step_features(steps, 64), modulation.sinusoids(steps, 64), atol=1e-3)

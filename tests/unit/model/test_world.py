import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema_model.errors import ShapeError
from kinema_model.parser import parse
from kinema_model.world import COLOURS, DIRECTIONS, SHAPES, World, caption_of, combinations, coverage, prompts

CLIPS = 120


def _world(seed: int = 7, frames: int = 8, height: int = 24, width: int = 24) -> World:
    return World(seed, frames, height, width, 8)


def test_a_clip_belongs_to_its_seed_and_index() -> None:
    first, again = _world().sample(5), _world().sample(5)
    assert np.array_equal(first.video, again.video)
    assert first.caption == again.caption
    assert not np.array_equal(first.video, _world().sample(6).video)
    assert not np.array_equal(first.video, _world(seed=8).sample(5).video)


def test_a_batch_is_its_clips() -> None:
    world = _world()
    videos, captions = world.batch([9, 2, 30])
    assert videos.shape == (3, 3, 8, 24, 24)
    assert (videos.dtype, float(videos.min())) == (torch.float32, -1.0)
    for i, index in enumerate([9, 2, 30]):
        clip = world.sample(index)
        restored = ((videos[i].permute(1, 2, 3, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
        assert np.array_equal(restored, clip.video)
        assert captions[i] == clip.caption


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**40), index=st.integers(0, 2**60))
def test_captions_say_what_the_state_is(seed: int, index: int) -> None:
    state, caption = _world(seed).state(index)
    words = caption.replace(",", "").split()
    attributes = state.attributes
    for name, choices in (("colour", COLOURS), ("shape", SHAPES), ("direction", DIRECTIONS)):
        assert [word for word in words if word in choices] == [getattr(attributes, name)]
    (x0, y0), (x1, y1) = state.positions[0], state.positions[-1]
    across, down = DIRECTIONS[str(attributes.direction)]
    assert np.sign([round(x1 - x0, 6), round(y1 - y0, 6)]).tolist() == [across, down]
    seconds = 7 / 8
    assert state.velocity == pytest.approx(((x1 - x0) / seconds, (y1 - y0) / seconds))


def test_canonical_and_other_captions_both_occur() -> None:
    drawn = [_world().state(i) for i in range(200)]
    canonical = sum(caption == caption_of(state.attributes) for state, caption in drawn)
    assert 60 < canonical < 140
    assert caption_of(combinations()[0]) == "a red square moves left"


def test_every_combination_occurs() -> None:
    seen = {_world().state(i)[0].attributes for i in range(2000)}
    assert seen == set(combinations())


def test_the_centre_of_mass_is_the_stated_position() -> None:
    world = World(3, 4, 64, 64, 8)
    for index in range(20):
        clip = world.sample(index)
        mass = clip.video[0].max(axis=-1).astype(np.float64)
        grid = np.arange(64) + 0.5
        centre = ((mass.sum(0) * grid).sum() / mass.sum(), (mass.sum(1) * grid).sum() / mass.sum())
        assert centre == pytest.approx(clip.state.positions[0], abs=0.35)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_nearly_one_area(shape: str) -> None:
    grid = np.arange(-60, 60, dtype=np.float32)
    area = float(coverage(shape, grid[:, None], grid, 30.0).sum())
    assert area == pytest.approx(np.pi * 30**2, rel=0.1)


def test_prompts_are_balanced_and_set_by_seed() -> None:
    drawn = prompts(144, 1)
    assert drawn == prompts(144, 1)
    assert drawn != prompts(144, 2)
    assert all(caption_of(attributes) == prompt for prompt, attributes in drawn)
    assert {drawn.count(item) for item in drawn} == {2}


@pytest.mark.parametrize("size", [(8, 24, 24), (8, 32, 48), (16, 64, 36)])
def test_the_parser_reads_true_clips(size: tuple[int, int, int]) -> None:
    world = _world(11, *size)
    states = [world.state(index)[0] for index in range(CLIPS)]
    read = [parse(clip) for clip in world.render(states)]
    assert sum(r == s.attributes for r, s in zip(read, states, strict=True)) >= 0.99 * CLIPS


def test_an_empty_world_is_refused() -> None:
    with pytest.raises(ShapeError, match="empty"):
        World(0, 0, 24, 24, 8)

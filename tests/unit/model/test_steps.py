"""Which clips a step takes follows from the world, the budget and the steps before, and from nothing else."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_model.config import ModelConfig
from kinema_model.errors import ConfigError, ShapeError
from kinema_model.packing.planning import StreamState
from kinema_model.packing.steps import Step, Steps
from kinema_world import SceneKind, ShapeMix, World, WorldConfig
from kinema_world.source import WorldSource

CONFIG = ModelConfig.from_preset("tiny", frames=16, height=32, width_px=32)
MIX = ShapeMix(frames=(8, 16), fps=(8, 12), sides=(32, 48))
LARGEST = 16 * 6 * 6


@cache
def mixed() -> WorldSource:
    kinds = {SceneKind.SIMPLE: 3.0, SceneKind.SEVERAL: 1.0, SceneKind.IMAGE: 1.0}
    return WorldSource(World(WorldConfig(seed=5, split="train", kinds=kinds, shapes=MIX)))


@cache
def taken(budget: int, count: int) -> list[Step]:
    return list(Steps(mixed(), CONFIG, budget).walk(0, count, StreamState()))


@given(st.integers(LARGEST, 3000), st.integers(1, 12))
@settings(max_examples=examples(20), deadline=None)
def test_every_clip_is_taken_once_and_no_step_holds_more_than_its_budget(budget: int, count: int) -> None:
    steps = taken(budget, count)
    assert [step.number for step in steps] == list(range(count))
    assert all(step.tokens <= budget for step in steps)
    samples = [sample for step in steps for sample in step.samples]
    assert sorted([*samples, *steps[-1].after.skipped]) == list(range(steps[-1].after.following))
    assert steps[-1].after.taken == len(samples)


@given(st.integers(1, 11))
@settings(max_examples=examples(8), deadline=None)
def test_a_run_that_was_stopped_goes_on_with_the_clips_that_follow(cut: int) -> None:
    whole = taken(1500, 12)
    state = StreamState.from_numbers(whole[cut - 1].after.to_numbers())
    assert list(Steps(mixed(), CONFIG, 1500).walk(cut, 12, state)) == whole[cut:]


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_ranks_share_a_step_whole(ranks: int) -> None:
    for step in taken(2000, 6):
        shares = [step.of(rank, ranks) for rank in range(ranks)]
        assert sorted(sample for share in shares for sample in share) == sorted(step.samples)


def test_more_ranks_than_clips_leave_ranks_without_any() -> None:
    (step,) = taken(LARGEST, 1)
    shares = [step.of(rank, 99) for rank in range(99)]
    assert [] in shares
    assert sorted(sample for share in shares for sample in share) == sorted(step.samples)
    with pytest.raises(ConfigError, match="below the group's size"):
        step.of(2, 2)


def test_clips_of_one_shape_come_in_order() -> None:
    config = ModelConfig.from_preset("tiny")
    world = World.fixed(7, config.frames, config.height, config.width_px, config.fps)
    budget = 10 * config.tokens_per_clip + 5
    steps = list(Steps(WorldSource(world), config, budget).walk(3, 5, StreamState(30)))
    assert [step.samples for step in steps] == [tuple(range(30, 40)), tuple(range(40, 50))]


def test_a_step_too_small_for_the_largest_clip_is_refused_before_it_is_met() -> None:
    with pytest.raises(ShapeError, match=f"A step of {LARGEST - 1} tokens .* which has {LARGEST}"):
        Steps(mixed(), CONFIG, LARGEST - 1)


def test_pictures_share_steps_with_clips() -> None:
    shapes = {mixed().shape(sample).frames for step in taken(2000, 6) for sample in step.samples}
    assert shapes == {1, 8, 16}

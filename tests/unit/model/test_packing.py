from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_model.errors import ConfigError, ShapeError
from kinema_model.packing.planning import LOOK_AHEAD, StepPlanner, StreamState
from kinema_model.packing.sharing import Load, share
from kinema_world import World, WorldConfig

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=60)
budgets = st.integers(40, 200)


def _planner(stream: Sequence[int], budget: int, look_ahead: int = LOOK_AHEAD) -> StepPlanner:
    """Over a stream that repeats these sizes for ever."""
    return StepPlanner(lambda sample: stream[sample % len(stream)], budget, look_ahead=look_ahead)


def _steps(planner: StepPlanner, count: int, state: StreamState) -> tuple[list[tuple[int, ...]], StreamState]:
    steps = []
    for _ in range(count):
        samples, state = planner.plan(state)
        steps.append(samples)
    return steps, state


@given(stream=sizes, budget=budgets, look_ahead=st.integers(1, LOOK_AHEAD))
def test_every_sample_comes_once_and_none_waits_longer_than_a_step(
    stream: list[int], budget: int, look_ahead: int
) -> None:
    planner, state, seen = _planner(stream, budget, look_ahead), StreamState(), list[int]()
    for _ in range(12):
        before = state
        samples, state = planner.plan(before)
        assert samples
        assert sum(stream[sample % len(stream)] for sample in samples) <= budget
        assert samples[: len(before.skipped)] == before.skipped
        seen += samples
    assert sorted([*seen, *state.skipped]) == list(range(state.following))


@given(stream=sizes, budget=budgets, cut=st.integers(0, 10))
def test_a_resumed_stream_goes_on_as_if_uninterrupted(stream: list[int], budget: int, cut: int) -> None:
    whole, end = _steps(_planner(stream, budget), 10, StreamState())
    first, state = _steps(_planner(stream, budget), cut, StreamState())
    restored = StreamState.from_numbers(state.to_numbers())
    rest, again = _steps(_planner(stream, budget), 10 - cut, restored)
    assert (first + rest, again) == (whole, end)


@given(stream=sizes, budget=budgets)
def test_no_choice_among_the_samples_ahead_fills_a_step_better(stream: list[int], budget: int) -> None:
    ahead = 6
    samples, _ = _planner(stream, budget, ahead).plan(StreamState())
    size = [stream[sample % len(stream)] for sample in range(budget + ahead)]
    fitting = next(n for n in range(budget + 1) if sum(size[: n + 1]) > budget)
    # Its own rule for how far it looks: what is passed over must fit the next step.
    window = [n for n in range(ahead) if sum(size[fitting : fitting + n + 1]) <= budget]
    sums = {0}
    for n in window:
        sums |= {total + size[fitting + n] for total in sums}
    best = max(total for total in sums if total <= budget - sum(size[:fitting]))
    assert sum(size[sample] for sample in samples) == sum(size[:fitting]) + best


def test_a_state_from_a_larger_budget_still_loses_nothing() -> None:
    state = StreamState(9, (1, 4, 5, 8))
    steps, after = _steps(StepPlanner(lambda _: 3, 6), 4, state)
    taken = [sample for step in steps for sample in step]
    assert taken[:4] == [1, 4, 5, 8]
    assert sorted([*taken, *after.skipped]) == [1, 4, 5, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("size", [65, 1000])
def test_a_clip_larger_than_a_step_is_refused_with_both_numbers(size: int) -> None:
    with pytest.raises(ShapeError, match=f"Sample 2 has {size} tokens and a step 64"):
        _planner([10, 10, size], 64).plan(StreamState())


@pytest.mark.parametrize(
    "numbers",
    [[], [3], [3, 3, *[-1] * 15], [3, -2, *[-1] * 15], [-1] * 17, [3, *[-1] * 17]],
)
def test_states_that_no_stream_was_in_are_refused(numbers: list[int]) -> None:
    with pytest.raises(ConfigError, match="another checkpoint"):
        StreamState.from_numbers(numbers)


def test_empty_samples_steps_and_groups_are_refused() -> None:
    with pytest.raises(ShapeError, match="at least 1"):
        _planner([0], 8).plan(StreamState())
    with pytest.raises(ConfigError, match="at least 1 of each"):
        _planner([1], 0)
    with pytest.raises(ConfigError, match="at least 1"):
        share([Load(0, 1, 1.0)], 0)


def _totals(shares: list[list[Load]]) -> list[float]:
    return sorted(sum(load.flops for load in mine) for mine in shares)


@given(work=st.lists(st.integers(1, 1000), max_size=24), ranks=st.integers(1, 6))
def test_a_step_is_shared_whole_and_no_single_move_helps_the_slowest(work: list[int], ranks: int) -> None:
    loads = [Load(sample, flops, flops) for sample, flops in enumerate(work)]
    shares = share(loads, ranks)
    assert shares == share(loads[::-1], ranks)
    assert sorted(load.sample for mine in shares for load in mine) == list(range(len(work)))
    least, most = _totals(shares)[0], _totals(shares)[-1]
    if most > 1.001 * sum(work) / ranks:
        slowest = max(shares, key=lambda mine: sum(load.flops for load in mine))
        assert all(load.flops >= most - least for load in slowest)


@given(work=st.lists(st.integers(1, 30), min_size=1, max_size=8), ranks=st.integers(1, 3))
def test_the_slowest_rank_is_close_to_the_best_there_is(work: list[int], ranks: int) -> None:
    reached = {(0,) * ranks}
    for each in work:
        reached = {(*t[:n], t[n] + each, *t[n + 1 :]) for t in reached for n in range(ranks)}
    best = min(max(totals) for totals in reached)
    slowest = _totals(share([Load(n, each, each) for n, each in enumerate(work)], ranks))[-1]
    # Graham's bound for longest first, which refinement can only better.
    assert best <= slowest <= (4 / 3 - 1 / (3 * ranks)) * best + 1e-9


def test_refinement_finds_what_longest_first_misses() -> None:
    loads = [Load(n, each, each) for n, each in enumerate([3, 3, 2, 2, 2])]
    assert _totals(share(loads, 2)) == [6, 6]


@settings(max_examples=examples(10), deadline=None)
@given(index=st.integers(0, 10_000), split=st.sampled_from(["train", "held-out"]))
def test_a_world_tells_the_shape_that_its_clip_has(index: int, split: str) -> None:
    world = World(WorldConfig.model_validate({"seed": 3, "split": split}))
    shape, clip = world.shape(index), world.sample(index)
    assert clip.video.shape == (shape.frames, shape.height, shape.width, 3)
    assert clip.scene.shape.fps == shape.fps

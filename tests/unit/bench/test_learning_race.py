"""Readings, the threshold and runs of the learning benchmark, on a contender whose progress is written down."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.learning_contender import Trained
from bench.learning_folder import Folder
from bench.learning_race import Contender, Reading, Record, Rules, Run, needed, reached, take_reading
from bench.learning_turns import Entry, Turns
from kinema_model.ema import Ema
from kinema_model.errors import ConfigError
from kinema_world import Attributes, Video
from stage.slices import SliceOver


@dataclass(frozen=True)
class Question:
    prompt: str
    asked: Attributes
    seed: int


EXAM = [Question(f"prompt {i}", Attributes("red", "square", "up"), i) for i in range(100)]


def mark(clip: Video, asked: Attributes) -> tuple[bool, bool]:
    """The clip itself says what it has right."""
    return bool(clip.flat[0]), bool(clip.flat[1])


class Scripted:
    """Knows the first `skill[step]` of 100 answers after that many steps."""

    def __init__(self, skill: Callable[[int], int], colour: int = 100, loss: Callable[[int], float] = float) -> None:
        self.name = "scripted"
        self.ema = Ema(nn.Linear(1, 1), 0.9)
        self.asked = 0
        self._skill, self._colour, self._loss = skill, colour, loss
        self._step = 0

    def parameters(self) -> int:
        return 2

    def train_step(self, step: int) -> float:
        assert step == self._step
        self._step += 1
        return self._loss(step)

    def sample(self, prompts: Sequence[str], seeds: Sequence[int]) -> Video:
        self.asked += len(prompts)
        known = [(seed < self._colour, seed < self._skill(self._step), 0) for seed in seeds]
        return np.array(known, dtype=np.uint8).reshape(len(seeds), 1, 1, 1, 3)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = state["step"]


def ticking() -> Callable[[], float]:
    """A clock on which every step takes one second."""
    ticks = itertools.count()
    return lambda: float(next(ticks))


def run_of(contender: Contender, every: float = 2) -> Run:
    return Run(contender, Rules(every, 0.9, EXAM, mark), ticking())


def reading(seconds: float, right: int) -> Reading:
    return Reading(seconds, 0, wanted=100, read=100, colour=100, direction=right)


@pytest.mark.parametrize(("share", "wanted", "count"), [(0.9, 256, 231), (0.9, 100, 90), (0.9, 10, 9), (0, 8, 0)])
def test_ninety_percent_is_rounded_up_and_no_further(share: float, wanted: int, count: int) -> None:
    assert needed(share, wanted) == count


@pytest.mark.parametrize(
    ("right", "seconds"),
    [
        ([], None),
        ([95], None),
        ([95, 95], 2),
        ([89, 90, 90], 3),
        ([95, 89, 95], None),
        ([95, 10, 95, 96, 0], 4),
    ],
)
def test_threshold_takes_two_successive_readings(right: list[int], seconds: float | None) -> None:
    assert reached([reading(i + 1, value) for i, value in enumerate(right)], 0.9) == seconds


def test_both_attributes_must_pass() -> None:
    assert not Reading(1, 1, 100, 100, colour=100, direction=89).passes(0.9)
    assert not Reading(1, 1, 100, 100, colour=89, direction=100).passes(0.9)
    assert Reading(1, 1, 100, 100, colour=90, direction=90).passes(0.9)


@given(colour=st.integers(0, 100), direction=st.integers(0, 100))
def test_reading_that_stops_early_has_the_verdict_of_a_whole_one(colour: int, direction: int) -> None:
    found = take_reading(Scripted(lambda _: direction, colour), EXAM, mark, 0.9, 1.0, 1)
    assert found.passes(0.9) == (min(colour, direction) >= 90)


def test_hopeless_reading_asks_for_few_clips() -> None:
    contender = Scripted(lambda _: 0)
    found = take_reading(contender, EXAM, mark, 0.9, 1.0, 1)
    assert contender.asked == found.read == 32
    assert found.accuracy == 0


def test_run_reads_at_fixed_seconds_and_ends_at_the_threshold() -> None:
    run = run_of(Scripted(lambda step: 100 if step >= 5 else 0))
    while not run.over(100):
        run.slice(100)
    assert [r.seconds for r in run.record.readings] == [2, 4, 6, 8]
    assert (run.record.reached, run.record.step) == (8, 8)


def test_run_ends_at_its_limit_with_a_last_reading() -> None:
    run = run_of(Scripted(lambda _: 0))
    while not run.over(5):
        run.slice(5)
    assert [r.seconds for r in run.record.readings] == [2, 4, 5]
    assert run.record.reached is None


def test_late_readings_are_a_tenth_apart() -> None:
    run = run_of(Scripted(lambda _: 0), every=1)
    while not run.over(60):
        run.slice(60)
    seconds = [r.seconds for r in run.record.readings]
    assert seconds[:11] == list(range(1, 12))
    assert seconds[-1] == 60
    gaps = [(b - a) / a for a, b in itertools.pairwise(seconds[10:-1])]
    # A step is a second on this clock, which is what a gap may be too long by.
    assert all(0.1 <= gap < 0.1 + 1 / a for gap, a in zip(gaps, seconds[10:], strict=False))


@given(every=st.floats(0.1, 3))
def test_no_two_readings_are_of_the_same_step(every: float) -> None:
    run = run_of(Scripted(lambda _: 0), every)
    while not run.over(6):
        run.slice(6)
    steps = [r.step for r in run.record.readings]
    assert steps == sorted(set(steps))


def test_loss_that_is_no_number_ends_the_run() -> None:
    run = run_of(Scripted(lambda _: 100, loss=lambda step: float("nan") if step == 2 else 1.0))
    assert run.slice(100) is not None
    assert run.slice(100) is None
    assert run.over(100)
    assert (run.record.diverged, run.record.reached) == (True, None)


def trained(seed: int = 0) -> Trained:
    class Line:
        """Fits a line through points that the step decides."""

        def loss(self, model: nn.Module, step: int) -> torch.Tensor:
            x = torch.randn(8, 1, generator=torch.Generator().manual_seed(step))
            loss: torch.Tensor = (model(x) - 3 * x).square().mean()
            return loss

        def sample(self, model: nn.Module, prompts: Sequence[str], seeds: Sequence[int]) -> Video:
            return np.zeros((len(prompts), 1, 1, 1, 3), dtype=np.uint8)

    torch.manual_seed(seed)
    return Trained("line", nn.Linear(1, 1), Line(), 0.1)


def test_saved_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole, first, second = run_of(straight := trained()), run_of(trained()), run_of(resumed := trained(seed=9))
    whole.slice(4)
    whole.slice(4)
    first.slice(4)
    first.save(tmp_path / "run.pt")
    second.load(tmp_path / "run.pt")
    second.slice(4)
    assert second.record == whole.record
    for name, value in straight.ema.shadow.items():
        assert torch.equal(value, resumed.ema.shadow[name])
        assert torch.equal(straight.model.state_dict()[name], resumed.model.state_dict()[name])


def turns(folder: Folder, slice_seconds: float = float("inf")) -> Turns:
    return Turns(folder, Rules(2, 0.9, EXAM, mark), slice_seconds, lambda: {"a": 4.0, "b": 4.0})


def test_runs_go_slice_by_slice_in_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A limit of nearly nothing is one step: a slice each, and both are over.
    entries = [Entry(key, lambda: Scripted(lambda _: 0), lambda: 1e-9) for key in ("a", "b")]
    records = turns(Folder(tmp_path, {})).take(entries)
    assert [record.step for record in records] == [1, 1]
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["a", "b"]
    assert "1 of 2 runs done" in said[1]


def test_ended_runs_are_not_made_again(tmp_path: Path) -> None:
    first = Folder(tmp_path, {"seeds": 3})
    first.end("a", Record("scripted", 2, seconds=3.0, step=7, readings=[reading(3, 50)], reached=None))

    def never() -> Contender:
        pytest.fail("the run was over")

    again = Folder(tmp_path, {"seeds": 3})
    assert turns(again).take([Entry("a", never, lambda: 5.0)]) == [first.records["a"]]


def test_slice_that_is_over_leaves_runs_to_be_taken_up(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {})
    run = run_of(trained())
    run.slice(4)
    folder.keep("a", run)
    with pytest.raises(SliceOver):
        turns(folder, slice_seconds=0).take([Entry("a", trained, lambda: 4.0)])
    later = run_of(trained(seed=9))
    Folder(tmp_path, {}).take_up("a", later)
    assert later.record == run.record
    assert not folder.records


def test_results_under_other_settings_are_refused(tmp_path: Path) -> None:
    Folder(tmp_path, {"seeds": 3}).end("a", Record("scripted", 2))
    with pytest.raises(ConfigError, match="set LEARNING_FOLDER"):
        Folder(tmp_path, {"seeds": 2})

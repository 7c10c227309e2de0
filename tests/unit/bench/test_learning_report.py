"""What runs come to: the rate, the speed-up and its bound, the table of parts; and what is unseen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench.learning import Bench, Folder, Settings
from bench.learning_ours import held_out, mark, questions
from bench.learning_race import Reading, Record
from bench.learning_report import chosen_rate, comparison, printed, table
from kinema_world import COLOURS, DIRECTIONS, SHAPES, World, combinations


def record(reached: float | None = None, right: int = 0, loss: float = 1.0, **fields: object) -> Record:
    readings = [Reading(100.0, 50, 100, 100, 100, right)]
    found = Record("x", 10, seconds=reached or 100.0, step=50, loss=loss, reached=reached, readings=readings)
    for name, value in fields.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("runs", "rate"),
    [
        ({1e-3: record(40), 2e-3: record(30, loss=2), 3e-3: record(loss=0.1)}, 2e-3),
        ({1e-3: record(loss=0.5, right=9), 2e-3: record(loss=0.4), 3e-3: record(loss=0.6)}, 2e-3),
        ({1e-3: record(loss=math.inf, diverged=True), 2e-3: record(loss=9)}, 2e-3),
    ],
)
def test_rate_is_the_soonest_and_then_of_least_loss(runs: dict[float, Record], rate: float) -> None:
    assert chosen_rate(runs) == rate


def test_speedup_is_that_of_the_medians() -> None:
    found = comparison([record(10), record(20), record(40)], [record(100), record(60), record(90)], 10)
    assert found == {
        "seconds_to_threshold": 20,
        "baseline_seconds_to_threshold": 90,
        "speedup": 4.5,
        "lower_bound": False,
    }


def test_baseline_that_never_gets_there_counts_at_the_cap_and_bounds() -> None:
    found = comparison([record(10), record(20), record(40)], [record(), record(), record(90)], 10)
    assert (found["baseline_seconds_to_threshold"], found["speedup"], found["lower_bound"]) == (100, 5, True)


def test_without_ours_there_is_no_speedup() -> None:
    assert comparison([record(10), record()], [record(50), record(60)], 10)["speedup"] is None


def test_table_says_what_each_part_brings() -> None:
    rows = table([("latte", record()), ("+ a", record()), ("+ b", record(50)), ("+ c", record(20))])
    assert [row["gain"] for row in rows] == [None, None, 2.0, 2.5]
    assert [row["gain_lower_bound"] for row in rows] == [False, False, True, False]
    assert [row["reached"] for row in rows] == [False, False, True, True]
    lines = printed(rows).splitlines()
    assert "> 100.0" in lines[1]
    assert lines[3].endswith(">= 2.0")


def counts(names: Iterable[str | None]) -> Counter[str | None]:
    return Counter(names)


def test_every_word_of_unseen_prompts_is_trained_on_in_other_company() -> None:
    unseen, seen = ([a for a in combinations() if held_out(a) is kept] for kept in (True, False))
    assert len(unseen) == pytest.approx(len(combinations()) / 8, rel=0.2)
    for attribute, values in (("colour", COLOURS), ("shape", SHAPES), ("direction", DIRECTIONS)):
        assert set(counts(getattr(a, attribute) for a in seen)) == set(values)
    # What is asked for cannot be drawn by always drawing the same.
    for attribute in ("colour", "direction"):
        assert max(counts(getattr(a, attribute) for a in unseen).values()) < 0.9 * len(unseen)


def test_questions_are_balanced_and_of_their_own_noise() -> None:
    found = questions(256, 0)
    frequency = counts(question.prompt for question in found)
    assert len(found) == len({question.seed for question in found}) == 256
    assert max(frequency.values()) - min(frequency.values()) <= 1
    assert all(held_out(question.asked) for question in found)


@pytest.mark.parametrize("side", [16, 24])
def test_true_clips_are_marked_right_and_others_wrong(side: int) -> None:
    clip = World.fixed(3, 8, side, side, 8).sample(0)
    asked = clip.scene.attributes
    other = next(a for a in combinations() if a.colour != asked.colour and a.direction != asked.direction)
    assert mark(clip.video, asked) == (True, True)
    assert mark(clip.video, other) == (False, False)
    assert mark(clip.video * 0, asked) == (False, False)


def test_settings_scale_seconds_and_prompts_and_keep_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Settings.from_environment()
    monkeypatch.setenv("LEARNING_SCALE", "0.5")
    half = Settings.from_environment()
    assert (half.prompts, half.seconds, half.grid_seconds) == (128, full.seconds / 2, full.grid_seconds / 2)
    assert (half.cap, half.seeds, half.rates, half.batch_tokens) == (full.cap, 3, full.rates, full.batch_tokens)
    assert len(full.rates) == 5


def test_baselines_limit_follows_ours(tmp_path: Path) -> None:
    bench = object.__new__(Bench)
    bench.settings = Settings.from_environment()
    bench.folder = Folder(tmp_path, {})
    assert bench.times_ours(1, 10) == bench.settings.seconds
    bench.folder.records["race/ours/1"] = record(12.5)
    assert bench.times_ours(1, 10) == 125
    assert math.isclose(sum(bench.outlook().values()), 10 * 24 + 3 * 12.5 * 11 + 6 * 2 * 12.5)

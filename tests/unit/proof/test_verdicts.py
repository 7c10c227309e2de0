"""Bars are held to the lowest figure that they name, and what was not measured is missed."""

from __future__ import annotations

import pytest

from kinema_evaluation import Row, Score, Section
from kinema_evaluation.plan import SECTIONS, SEEN
from proof.verdicts import BARS, Bar, all_figures, exit_code, judge


def sections(change: dict[tuple[str, str, str], float]) -> dict[str, Section]:
    """Sections in which every row of every bar is right but for those that are changed."""
    found: dict[str, list[Row]] = {}
    for bar in BARS:
        for name in bar.rows:
            for group in bar.groups:
                value = change.get((bar.section, group, name), 1.0)
                row = Row(name=name, group=group, meaning="", score=Score(value=value, clips=8))
                found.setdefault(bar.section, []).append(row)
    return {name: Section(title=name, question="", rows=tuple(rows)) for name, rows in found.items()}


def test_a_model_that_is_right_meets_every_bar() -> None:
    verdicts = judge(sections({}), {})
    assert [verdict.met for verdict in verdicts] == [True] * len(BARS)
    assert exit_code(verdicts) == 0


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.name)
def test_each_row_that_a_bar_names_can_miss_it(bar: Bar) -> None:
    for name in bar.rows:
        for group in bar.groups:
            low = bar.least - 0.01
            verdicts = judge(sections({(bar.section, group, name): low}), {})
            (missed,) = [verdict for verdict in verdicts if not verdict.met]
            assert missed.bar == bar
            assert missed.to_json()["figure"] == pytest.approx(low)
            assert str(missed).startswith("MISSED")
            assert exit_code(verdicts) == 1


def test_a_figure_at_its_bar_meets_it() -> None:
    bar = BARS[0]
    at = {(bar.section, group, name): bar.least for name in bar.rows for group in bar.groups}
    assert judge(sections(at), {})[0].met


def test_what_was_not_measured_is_missed_with_its_reason() -> None:
    found = sections({})
    del found["drift"]
    verdicts = judge(found, {"drift": "It does not stream."})
    missed = [verdict for verdict in verdicts if not verdict.met]
    assert {verdict.bar.section for verdict in missed} == {"drift"}
    assert all("It does not stream." in str(verdict) for verdict in missed)
    assert missed[0].to_json()["figure"] is None


def test_bars_name_sections_that_exist() -> None:
    assert {bar.section for bar in BARS} <= set(SECTIONS)


def test_figures_are_named_by_section_group_and_row() -> None:
    figures = all_figures(sections({("captions", SEEN, "everything"): 0.5}))
    assert figures[f"captions/{SEEN}/everything"] == 0.5
    assert "drift/attributes, last 10 s" in figures

"""What the proof asks of the model: each bar with the figures that it is held to, and whether they are met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kinema_evaluation import Row, Section, captions, open_length, permanence, shots
from kinema_evaluation.plan import NEW_COMBINATIONS, NEW_SPEEDS, SEEN


@dataclass(frozen=True)
class Bar:
    """Every row of these names and groups of a section must reach `least`."""

    name: str
    section: str
    rows: tuple[str, ...]
    groups: tuple[str, ...]
    least: float


BARS: Final = (
    Bar("captions, seen", "captions", (captions.EVERYTHING,), (SEEN,), 0.95),
    Bar("captions, held out", "captions", (captions.EVERYTHING,), (NEW_COMBINATIONS, NEW_SPEEDS), 0.80),
    Bar("permanence", "permanence", (permanence.EVERYTHING,), (SEEN,), 0.80),
    Bar("streaming, first 10 s", "drift", (open_length.FIRST,), ("",), 0.90),
    Bar("streaming, last 10 s", "drift", (open_length.LAST,), ("",), 0.90),
    # A frozen stream has every attribute right.
    Bar("streaming, lawful", "drift", (open_length.LAWFUL,), ("",), 0.90),
    Bar("streaming, new", "drift", (open_length.NEW,), ("",), 0.90),
    Bar("two shots, object kept", "shots", (shots.KEPT,), (SEEN,), 0.90),
    Bar("two shots, lawful and new", "shots", (shots.LAWFUL, shots.NEW), (SEEN,), 0.90),
)


@dataclass(frozen=True)
class Verdict:
    """A bar with the lowest of its figures, which is None where nothing was measured; `what` says which, or why not."""

    bar: Bar
    row: Row | None
    what: str

    @property
    def met(self) -> bool:
        """Whether there is a figure and it is at least the bar."""
        return self.row is not None and self.row.score.value >= self.bar.least

    def to_json(self) -> dict[str, Any]:
        """As the last line has it."""
        score = None if self.row is None else self.row.score
        return {
            "name": self.bar.name,
            "what": self.what,
            "figure": None if score is None else round(score.value, 4),
            "interval": None if score is None else [score.low, score.high],
            "clips": None if score is None else score.clips,
            "true_clips": None if self.row is None or self.row.floor is None else round(self.row.floor.value, 4),
            "bar": self.bar.least,
            "met": self.met,
        }

    def __str__(self) -> str:
        figure = "not measured" if self.row is None else f"{self.row.score.value:.1%}"
        return f"{'met' if self.met else 'MISSED'}: {self.bar.name}: {figure}, bar {self.bar.least:.0%} ({self.what})"


def judge(sections: Mapping[str, Section], absent: Mapping[str, str]) -> list[Verdict]:
    """A verdict for each bar."""
    return [_verdict(bar, sections.get(bar.section), absent.get(bar.section)) for bar in BARS]


def _verdict(bar: Bar, section: Section | None, reason: str | None) -> Verdict:
    rows = [] if section is None else [row for row in section.rows if row.name in bar.rows and row.group in bar.groups]
    if not rows:
        return Verdict(bar, None, reason or f"the section {bar.section} has no such row")
    lowest = min(rows, key=lambda row: row.score.value)
    return Verdict(bar, lowest, ", ".join(filter(None, (lowest.name, lowest.group))))


def all_figures(sections: Mapping[str, Section]) -> dict[str, float]:
    """Every row's score by section, group and name."""
    return {
        "/".join(filter(None, (name, row.group, row.name))): round(row.score.value, 4)
        for name, section in sections.items()
        for row in section.rows
    }


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 where all bars are met, else 1."""
    return int(not all(verdict.met for verdict in verdicts))

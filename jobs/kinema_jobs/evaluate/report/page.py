"""The page for people: what each number means, how good it is and where it falls short, in one file, no scripts.

The layout is in templates/; Jinja escapes every value. This module makes the values that the templates show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from kinema_evaluation import Report, Row, Section
from kinema_jobs.evaluate.report.pictures import ShownClip, shown_clip
from kinema_jobs.evaluate.report.plots import Plot, Track, plot, track
from kinema_jobs.evaluate.report.words import figure, headline, interval, subject_line, verdict

COLUMNS: Final = ("", "group", "score", "95 %", "true clips", "chance", "ignoring", "bar", "clips")
_PAGES: Final = Environment(
    loader=PackageLoader("kinema_jobs.evaluate.report"), autoescape=True, undefined=StrictUndefined
)


@dataclass(frozen=True)
class ShownRow:
    """A row as text and as a plot."""

    name: str
    grade: str
    verdict: str
    track: Track
    figure: str
    interval: str
    meaning: str
    against: tuple[str, ...]
    """What the score is held against."""


@dataclass(frozen=True)
class ShownSheet:
    """Clips under a title."""

    title: str
    clips: tuple[ShownClip, ...]


@dataclass(frozen=True)
class ShownSection:
    """A section as the page has it."""

    key: str
    title: str
    question: str
    headline: tuple[str, str, str]
    groups: tuple[tuple[str, tuple[ShownRow, ...]], ...]
    curves: tuple[Plot, ...]
    remarks: tuple[str, ...]
    sheets: tuple[ShownSheet, ...]
    table: tuple[tuple[str, ...], ...]


def page(report: Report, name: str, digest: str | None, seconds: float) -> str:
    """The whole page as HTML, with all styles, plots and pictures in it."""
    return _PAGES.get_template("page.html").render(
        report=report,
        name=name,
        digest=digest,
        seconds=seconds,
        subject=subject_line(report),
        columns=COLUMNS,
        sections=[_section(key, section) for key, section in report.sections.items()],
    )


def _section(key: str, section: Section) -> ShownSection:
    groups = ((name, tuple(map(_row, rows))) for name, rows in groupby(section.rows, key=lambda row: row.group))
    return ShownSection(
        key=key,
        title=section.title,
        question=section.question,
        headline=headline(key, section),
        groups=tuple((name[:1].upper() + name[1:], rows) for name, rows in groups),
        curves=tuple(map(plot, section.curves)),
        remarks=section.remarks,
        sheets=tuple(ShownSheet(sheet.title, tuple(map(shown_clip, sheet.shown))) for sheet in section.sheets),
        table=tuple(tuple(_cells(row)) for row in section.rows),
    )


def _row(row: Row) -> ShownRow:
    grade, words = verdict(row)
    return ShownRow(
        name=row.name,
        grade=grade,
        verdict=words,
        track=track(row, grade),
        figure=figure(row.score.value, row.unit),
        interval=interval(row.score, row.unit),
        meaning=row.meaning,
        against=tuple(_against(row)),
    )


def _against(row: Row) -> Iterator[str]:
    """What the score is held against, in words."""
    if row.floor is not None:
        yield f"true clips {figure(row.floor.value, row.unit)}"
    if row.chance is not None:
        yield f"chance {figure(row.chance, row.unit)}"
    if row.ignoring is not None:
        lead = "" if row.lead is None else f" ({100 * row.lead:+.0f} points to it)"
        yield f"ignoring the input {figure(row.ignoring.value, row.unit)}{lead}"
    if row.bar is not None:
        yield f"bar {'at least' if row.better == 'higher' else 'at most'} {figure(row.bar, row.unit)}"
    for name, score in row.controls.items():
        yield f"{name} {figure(score.value, row.unit)}"
    if row.unreadable:
        yield f"{row.unreadable} answers could not be read"


def _cells(row: Row) -> Iterator[str]:
    yield row.name
    yield row.group
    yield figure(row.score.value, row.unit)
    yield interval(row.score, row.unit)
    floor, ignoring = (None if of is None else of.value for of in (row.floor, row.ignoring))
    for value in (floor, row.chance, ignoring, row.bar):
        yield "" if value is None else figure(value, row.unit)
    yield str(row.score.clips)

"""Positions of the lines, dots and labels of the page's plots; templates/drawings.html draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kinema_evaluation import Curve, Row, Score
from kinema_evaluation.open_length import TRUE
from kinema_jobs.evaluate.report.words import figure

_SMALL: Final = (300, 150)
_BROAD: Final = (640, 220)
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 34


def scale(row: Row) -> tuple[float, float]:
    """The values at the left and the right end of a row's track."""
    if row.unit == "share":
        return 0.0, 1.0
    values = [row.score.value, row.score.low, row.score.high, row.bar, row.floor.value if row.floor else None]
    values += [control.value for control in _controls(row)]
    most = 1.15 * max([abs(value) for value in values if value is not None] + [1e-9])
    return (-most, most) if row.unit == "difference" else (0.0, most)


def _controls(row: Row) -> list[Score]:
    return [*row.controls.values(), *([] if row.ignoring is None else [row.ignoring])]


@dataclass(frozen=True)
class Line:
    """An upright or level line of a track."""

    style: str
    start: str
    end: str
    top: int
    bottom: int


@dataclass(frozen=True)
class Track:
    """A line from end to end of the scale with the score, its interval, and the marks that it is held against."""

    label: str
    grade: str
    lines: tuple[Line, ...]
    controls: tuple[str, ...]
    span: Line | None
    score: str


@dataclass(frozen=True)
class Text:
    """Words on a plot."""

    x: str
    y: str
    anchor: str
    words: str


@dataclass(frozen=True)
class Polyline:
    """One line of a plot."""

    style: str
    points: str


@dataclass(frozen=True)
class Plot:
    """One curve with its axes; broad, with a line and a key for each, where others stand beside it."""

    name: str
    across: str
    broad: bool
    width: int
    height: int
    axes: str
    lines: tuple[Polyline, ...]
    dots: tuple[tuple[str, str], ...]
    texts: tuple[Text, ...]
    key: tuple[tuple[str, str], ...]
    """Name and style of each line."""


def track(row: Row, grade: str) -> Track:
    """Where everything on a row's track is, in per cent of its width."""
    first, end = scale(row)

    def at(value: float) -> str:
        # The round ends need a little room on both sides.
        return f"{2 + 96 * min(max((value - first) / (end - first), 0.0), 1.0):.2f}%"

    lines = [Line("axis", at(first), at(end), 14, 14)]
    floor = row.floor.value if row.floor else None
    for style, value, top, bottom in (("bar", row.bar, 2, 26), ("chance", row.chance, 6, 22), ("floor", floor, 4, 24)):
        if value is not None:
            lines.append(Line(style, at(value), at(value), top, bottom))
    score = row.score
    span = None
    if score.low is not None and score.high is not None:
        span = Line(f"span {grade}", at(score.low), at(score.high), 14, 14)
    return Track(
        label=f"{row.name}: {figure(score.value, row.unit)}",
        grade=grade,
        lines=tuple(lines),
        controls=tuple(at(control.value) for control in _controls(row)),
        span=span,
        score=at(score.value),
    )


def plot(curve: Curve) -> Plot:
    """Where everything on a curve's plot is, in units of its own size."""
    width, height = _BROAD if curve.beside else _SMALL
    lines = {"this model": curve.y, **curve.beside} if curve.beside else {"": curve.y}
    values = [value for line in lines.values() for value in line]
    low, high = min(0.0, *values), max(*values, 1e-9)
    first, last = min(curve.x), max(curve.x)
    right, bottom = width - _RIGHT, height - _BOTTOM

    def place(x: float, y: float) -> tuple[str, str]:
        across = (x - first) / ((last - first) or 1)
        down = bottom - (y - low) / (high - low) * (bottom - _TOP)
        return f"{_LEFT + across * (right - _LEFT):.1f}", f"{down:.1f}"

    styles = _styles(curve)
    placed = {name: [place(*at) for at in zip(curve.x, line, strict=True)] for name, line in lines.items()}
    texts = (
        (_LEFT - 6, _TOP + 8, "end", figure(high, "")),
        (_LEFT - 6, bottom, "end", figure(low, "")),
        (_LEFT, bottom + 14, "middle", f"{first:g}"),
        (right, bottom + 14, "end", f"{last:g}"),
        ((_LEFT + width) / 2, height - 4, "middle", curve.across),
    )
    return Plot(
        name=curve.name,
        across=curve.across,
        broad=bool(curve.beside),
        width=width,
        height=height,
        axes=f"M{_LEFT} {_TOP}V{bottom}H{right}",
        lines=tuple(Polyline(styles[name], _path(points)) for name, points in reversed(placed.items())),
        dots=() if curve.beside else _dots(placed[""]),
        texts=tuple(Text(f"{x:.0f}", f"{y:.0f}", anchor, words) for x, y, anchor, words in texts),
        key=tuple(styles.items()),
    )


def _styles(curve: Curve) -> dict[str, str]:
    """The class of each line: the model, true clips, and controls by turns."""
    if not curve.beside:
        return {"": "alone"}
    controls = [name for name in curve.beside if name != TRUE]
    return {"this model": "model", TRUE: "truth", **{name: f"rule{place % 3}" for place, name in enumerate(controls)}}


def _path(points: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _dots(points: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(points[:: 1 + len(points) // 24])

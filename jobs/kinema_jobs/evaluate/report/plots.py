"""Plots as inline SVG that takes its colours from the page, so that light and dark need one drawing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from kinema_evaluation import Curve, Row
from kinema_evaluation.open_length import TRUE
from kinema_jobs.evaluate.report.words import figure

_SMALL: Final = (300, 150)
_BROAD: Final = (640, 220)
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 34


def scale(row: Row) -> tuple[float, float]:
    """What the left and the right end of a row's track stand for."""
    if row.unit == "share":
        return 0.0, 1.0
    values = [row.score.value, row.score.low, row.score.high, row.bar, row.floor.value if row.floor else None]
    values += [score.value for score in row.controls.values()]
    most = 1.15 * max([abs(value) for value in values if value is not None] + [1e-9])
    return (-most, most) if row.unit == "difference" else (0.0, most)


def track(row: Row, grade: str) -> str:
    """A line from end to end of the scale with the score, its interval, and the marks that it is held against."""
    first, end = scale(row)

    def at(value: float) -> str:
        # The round ends need a little room on both sides.
        return f"{2 + 96 * min(max((value - first) / (end - first), 0.0), 1.0):.2f}%"

    parts = [f'<line class="axis" x1="{at(first)}" x2="{at(end)}" y1="14" y2="14"/>']
    if row.bar is not None:
        parts.append(f'<line class="bar" x1="{at(row.bar)}" x2="{at(row.bar)}" y1="2" y2="26"/>')
    if row.chance is not None:
        parts.append(f'<line class="chance" x1="{at(row.chance)}" x2="{at(row.chance)}" y1="6" y2="22"/>')
    if row.floor is not None:
        parts.append(f'<line class="floor" x1="{at(row.floor.value)}" x2="{at(row.floor.value)}" y1="4" y2="24"/>')
    parts += [f'<circle class="control" cx="{at(score.value)}" cy="14" r="4"/>' for score in row.controls.values()]
    if row.score.low is not None and row.score.high is not None:
        parts.append(f'<line class="span {grade}" x1="{at(row.score.low)}" x2="{at(row.score.high)}" y1="14" y2="14"/>')
    parts.append(f'<circle class="dot {grade}" cx="{at(row.score.value)}" cy="14" r="6"/>')
    label = f"{row.name}: {figure(row.score.value, row.unit)}"
    return f'<svg class="track" role="img" aria-label="{escape(label)}" width="100%" height="28">{"".join(parts)}</svg>'


def curve_plot(curve: Curve) -> str:
    """One curve with its axes; broad, with a line and a key for each, where others stand beside it."""
    width, height = _BROAD if curve.beside else _SMALL
    lines = {"this model": curve.y, **curve.beside} if curve.beside else {"": curve.y}
    values = [value for line in lines.values() for value in line]
    low, high = min(0.0, *values), max(*values, 1e-9)
    first, last = min(curve.x), max(curve.x)
    left, bottom = _LEFT, height - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / ((last - first) or 1)
        return left + across * (width - left - _RIGHT), bottom - (y - low) / (high - low) * (bottom - _TOP)

    styles = _styles(curve)
    drawn = [
        f'<polyline class="{styles[name]}" points="{_path([place(*at) for at in zip(curve.x, line, strict=True)])}"/>'
        for name, line in reversed(lines.items())
    ]
    drawn += [] if curve.beside else _dots([place(*at) for at in zip(curve.x, curve.y, strict=True)])
    texts = [
        (left - 6, _TOP + 8, "end", figure(high, "")),
        (left - 6, bottom, "end", figure(low, "")),
        (left, bottom + 14, "middle", f"{first:g}"),
        (width - _RIGHT, bottom + 14, "end", f"{last:g}"),
        ((left + width) / 2, height - 4, "middle", curve.across),
    ]
    words = "".join(
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(t)}</text>' for x, y, anchor, t in texts
    )
    return (
        f'<figure class="curve{" broad" if curve.beside else ""}"><svg role="img" '
        f'aria-label="{escape(curve.name)} by {escape(curve.across)}" viewBox="0 0 {width} {height}">'
        f'<path class="axis" d="M{left} {_TOP}V{bottom}H{width - _RIGHT}"/>{"".join(drawn)}{words}</svg>'
        f"<figcaption>{escape(curve.name)}{_key(styles) if curve.beside else ''}</figcaption></figure>"
    )


def _styles(curve: Curve) -> dict[str, str]:
    """The class of each line: the model, true clips, and controls by turns."""
    if not curve.beside:
        return {"": "alone"}
    controls = [name for name in curve.beside if name != TRUE]
    return {"this model": "model", TRUE: "truth", **{name: f"rule{place % 3}" for place, name in enumerate(controls)}}


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _dots(points: Sequence[tuple[float, float]]) -> list[str]:
    return [f'<circle class="dot plain" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points[:: 1 + len(points) // 24]]


def _key(styles: dict[str, str]) -> str:
    entries = "".join(
        f'<span><svg aria-hidden="true" viewBox="0 0 28 8"><polyline class="{style}" points="0,4 28,4"/></svg>'
        f"{escape(name)}</span>"
        for name, style in styles.items()
    )
    return f'<span class="key">{entries}</span>'

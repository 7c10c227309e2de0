"""Plots as inline SVG that takes its colours from the page, so that light and dark need one drawing."""

from __future__ import annotations

from html import escape

from kinema_jobs.report.words import figure
from kinema_model.evaluation import Curve, Row

_WIDTH, _HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 34


def scale_end(row: Row) -> float:
    """What the right end of a row's track stands for."""
    if row.unit == "share":
        return 1.0
    values = [row.score.value, row.score.high, row.bar, row.floor.value if row.floor else None]
    values += [score.value for score in row.controls.values()]
    return 1.15 * max([value for value in values if value is not None] + [1e-9])


def track(row: Row, grade: str) -> str:
    """A line from 0 to the end of the scale with the score, its interval, and the marks that it is held against."""
    end = scale_end(row)

    def at(value: float) -> str:
        # The round ends need a little room on both sides.
        return f"{2 + 96 * min(max(value / end, 0.0), 1.0):.2f}%"

    parts = [f'<line class="axis" x1="{at(0)}" x2="{at(end)}" y1="14" y2="14"/>']
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
    """One curve with its axes."""
    low, high = min(0.0, *curve.y), max(*curve.y, 1e-9)
    first, last = min(curve.x), max(curve.x)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / ((last - first) or 1)
        up = (y - low) / (high - low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    points = [place(x, y) for x, y in zip(curve.x, curve.y, strict=True)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle class="dot plain" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points[:: 1 + len(points) // 24]
    )
    left, bottom = _LEFT, _HEIGHT - _BOTTOM
    texts = [
        (left - 6, _TOP + 8, "end", figure(high, "")),
        (left - 6, bottom, "end", figure(low, "")),
        (left, bottom + 14, "middle", f"{first:g}"),
        (_WIDTH - _RIGHT, bottom + 14, "end", f"{last:g}"),
        ((left + _WIDTH) / 2, _HEIGHT - 4, "middle", curve.across),
    ]
    words = "".join(
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(t)}</text>' for x, y, anchor, t in texts
    )
    return (
        f'<figure class="curve"><svg role="img" aria-label="{escape(curve.name)} by {escape(curve.across)}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}"><path class="axis" d="M{left} {_TOP}V{bottom}H{_WIDTH - _RIGHT}"/>'
        f'<polyline points="{path}"/>{dots}{words}</svg><figcaption>{escape(curve.name)}</figcaption></figure>'
    )

"""Figures as text, and the verdict on a row."""

from __future__ import annotations

from kinema_evaluation import Report, Row, Score, Section
from kinema_evaluation.report import LEAST_LEAD

# A score this close to the reader's own on true clips counts as perfect.
_AS_GOOD = 0.03
_MUCH_WORSE = 2.0


def figure(value: float, unit: str) -> str:
    """A share or a difference in per cent, anything else with three digits."""
    if unit == "difference":
        return f"{100 * value:+.1f} %" if abs(value) >= 0.0005 else "0 %"
    if unit == "share":
        return f"{100 * value:.0f} %" if value in (0.0, 1.0) else f"{100 * value:.1f} %"
    if value == 0 or abs(value) >= 0.001:
        return f"{value:.3g}"
    return f"{value:.1e}"


def interval(score: Score, unit: str) -> str:
    """The interval in brackets, empty where there is none."""
    if score.low is None or score.high is None:
        return ""
    return f"{figure(score.low, unit)} to {figure(score.high, unit)}"


def verdict(row: Row) -> tuple[str, str]:
    """(good, fair or poor, and the words for it); plain for a difference, which is neither."""
    if row.unit == "difference":
        return "plain", _direction(row.score)
    if row.unit == "value":
        return "plain", "neither more nor less is better"
    if row.void:
        return "plain", "tells nothing of the model"
    if row.lead is not None and row.lead < LEAST_LEAD:
        return "poor", "hardly above ignoring the input"
    if row.reached is not None:
        return ("good", "bar reached") if row.reached else ("poor", "bar missed")
    value, chance, floor = row.score.value, row.chance, row.floor.value if row.floor else None
    if row.better == "lower":
        if floor is None:
            return "fair", "no bar"
        return ("good", "like true clips") if value <= _MUCH_WORSE * max(floor, 0.0) else ("fair", "above true clips")
    if floor is not None and value >= floor - _AS_GOOD:
        return "good", "like true clips"
    if chance is not None and (row.score.low if row.score.low is not None else value) <= chance:
        return "poor", "not told from chance"
    return ("poor", "mostly wrong") if value < 0.5 else ("fair", "partly right")


def _direction(score: Score) -> str:
    low, high = (score.value if end is None else end for end in (score.low, score.high))
    return "more" if low > 0 else "less" if high < 0 else "not told apart"


def headline(name: str, section: Section) -> tuple[str, str, str]:
    """(good, fair or poor; the figure; what it is) for the headline of a section."""
    barred = [row for row in section.rows if row.reached is not None]
    if name == "tasks":
        reached = sum(row.reached is True for row in barred)
        grade = "good" if reached == len(barred) else "fair" if reached >= len(barred) / 2 else "poor"
        return grade, f"{reached} of {len(barred)}", "bars reached"
    row = next((one for one in section.rows if one.name == "everything"), section.rows[0])
    grade, _ = verdict(row)
    return grade, figure(row.score.value, row.unit), f"{row.name}, {row.group}" if row.group else row.name


def subject_line(report: Report) -> str:
    """What was evaluated, in one sentence."""
    subject = report.subject
    shown = ["recorded clips"] if subject.recorded else []
    if subject.world is not None:
        shown.append(f"scenes of the kinds {', '.join(kind.value for kind in subject.world.wanted)}")
    known = "trained on" if subject.world_known or subject.recorded else "taken to be trained on"
    return (
        f"Preset {subject.preset}, {subject.frames} frames of {subject.width} x {subject.height} px at {subject.fps} "
        f"per second; {known} {' and '.join(shown)}; trained for {', '.join(subject.tasks)}."
    )

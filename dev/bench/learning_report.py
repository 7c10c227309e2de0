"""Results of the learning benchmark: the chosen rate, the speed-up, the table of parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.learning_race import Record
from stage.measure import percentile


def chosen_rate(runs: Mapping[float, Record]) -> float:
    """The learning rate that reached the threshold first, else the one with the least final loss.

    Not the most accurate one: after so short a run answers are few and mostly wrong, and chance would choose.
    """

    def rank(rate: float) -> tuple[float, float]:
        record = runs[rate]
        return (math.inf if record.reached is None else record.reached, record.loss)

    return min(runs, key=rank)


def comparison(ours: Sequence[Record], baseline: Sequence[Record], cap: float) -> dict[str, Any]:
    """Median seconds of both and their ratio, run by run of the same seed.

    A baseline that never got there counts at `cap` times ours and makes the speed-up a lower bound. Without a
    threshold of ours there is nothing to compare.
    """
    mine = [record.reached for record in ours]
    if any(seconds is None for seconds in mine):
        return {
            "seconds_to_threshold": None,
            "baseline_seconds_to_threshold": None,
            "speedup": None,
            "lower_bound": False,
        }
    known = [seconds for seconds in mine if seconds is not None]
    theirs = [
        cap * seconds if record.reached is None else record.reached
        for seconds, record in zip(known, baseline, strict=True)
    ]
    median, other = percentile(known, 50), percentile(theirs, 50)
    return {
        "seconds_to_threshold": round(median, 1),
        "baseline_seconds_to_threshold": round(other, 1),
        "speedup": round(other / median, 2),
        "lower_bound": any(record.reached is None for record in baseline),
    }


def table(rows: Sequence[tuple[str, Record]]) -> list[dict[str, Any]]:
    """One row per part added: seconds to the threshold, and how many times sooner than the row before.

    Where a row never got there, `seconds` is what it trained for and `reached` is false; a gain over such a row is
    a lower bound, and a gain of such a row is not known.
    """
    found: list[dict[str, Any]] = []
    before: Record | None = None
    for part, record in rows:
        seconds = record.seconds if record.reached is None else record.reached
        last = record.readings[-1].accuracy if record.readings else 0.0
        row: dict[str, Any] = {
            "part": part,
            "seconds": round(seconds, 1),
            "reached": record.reached is not None,
            "accuracy": round(last, 3),
            "steps_per_second": round(record.step / record.seconds, 2),
            "parameters": record.parameters,
            "gain": None,
            "gain_lower_bound": False,
        }
        if before is not None and record.reached is not None:
            row["gain"] = round((before.reached or before.seconds) / record.reached, 2)
            row["gain_lower_bound"] = before.reached is None
        found.append(row)
        before = record
    return found


def printed(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table for people."""
    lines = [f"{'part':<20} {'seconds':>9} {'accuracy':>9} {'steps/s':>8} {'parameters':>11}  gain"]
    for row in rows:
        seconds = f"{'' if row['reached'] else '> '}{row['seconds']}"
        bound = ">= " if row["gain_lower_bound"] else ""
        gain = "" if row["gain"] is None else f"{bound}{row['gain']}"
        lines.append(
            f"{row['part']:<20} {seconds:>9} {row['accuracy']:>9} {row['steps_per_second']:>8} "
            f"{row['parameters']:>11}  {gain}"
        )
    return "\n".join(lines)

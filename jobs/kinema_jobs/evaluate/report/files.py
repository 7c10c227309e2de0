"""Writes both files of a report, and selects the figures that a terminal and the demo show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from kinema_evaluation import Report, Row, ablations, captions, open_length, rates, shots
from kinema_evaluation.plan import SEEN
from kinema_evaluation.recorded import dynamics, retrieval
from kinema_jobs.evaluate.report.page import page

JSON_FILE: Final = "report.json"
HTML_FILE: Final = "report.html"
_ATTRIBUTES: Final = ("colour", "shape", "direction")


# Main rows beside captions, of what was seen in training.
_FIRST: Final = {
    "drift": (open_length.EVERYTHING, open_length.FIRST, open_length.LAST, open_length.LAWFUL, open_length.NEW),
    "shots": (shots.EVERYTHING, shots.SIZE),
    "rates": (rates.TOLD, rates.EQUAL),
    "retrieval": (retrieval.FIRST,),
    "dynamics": (dynamics.ALL,),
    "ablations": (captions.EVERYTHING, ablations.IN_FRAME),
}
_SETTINGS: Final = (ablations.SHORT, ablations.RICH, ablations.THIS, dynamics.AGREEMENT)


@dataclass(frozen=True)
class Identity:
    """A model's folder, and the digest of its weights where it has one."""

    folder: str
    digest: str | None


@dataclass(frozen=True)
class Origin:
    """Where a report comes from: the model's folder and digest, how long it took, and the models put beside it."""

    model: str
    digest: str | None
    seconds: float
    beside: Mapping[str, Identity] = field(default_factory=dict)


def write_report(report: Report, origin: Origin, folder: Path) -> list[Path]:
    """Write report.json and report.html into `folder`, which is made where it is missing. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / JSON_FILE, folder / HTML_FILE]
    files[0].write_text(json.dumps(document(report, origin), indent=2) + "\n", encoding="utf-8")
    files[1].write_text(page(report, Path(origin.model).name, origin.digest, origin.seconds), encoding="utf-8")
    return files


def document(report: Report, origin: Origin) -> dict[str, Any]:
    """All figures, as report.json holds them."""
    return {
        "model": origin.model,
        "digest": origin.digest,
        "seconds": origin.seconds,
        "attributes": summary(report),
        "summary": highlights(report),
        **report.model_dump(mode="json"),
        "models_beside": {label: asdict(one) for label, one in origin.beside.items()},
    }


def summary(report: Report) -> dict[str, dict[str, float | None]]:
    """Accuracy by attribute of captions like those of training, with chance and the reader's own accuracy."""
    section = report.sections.get("captions")
    rows = {row.name: row for row in section.rows if row.group == SEEN} if section else {}
    return {name: _accuracy(rows[name]) for name in _ATTRIBUTES if name in rows}


def highlights(report: Report) -> dict[str, dict[str, float | None]]:
    """The main figures of the other sections, by section and name."""
    found = {}
    for name, wanted in _FIRST.items():
        for row in report.sections[name].rows if name in report.sections else ():
            group = row.group if row.group != SEEN else ""
            if row.name in wanted and group in ("", *_SETTINGS, *report.beside):
                found[f"{name}: {row.name}{f', {group}' if group else ''}"] = _accuracy(row)
    return found


def _accuracy(row: Row) -> dict[str, float | None]:
    return {
        "accuracy": row.score.value,
        "low": row.score.low,
        "high": row.score.high,
        "chance": row.chance,
        "parser_accuracy": row.floor.value if row.floor else None,
    }

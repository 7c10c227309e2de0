"""Writes both files of a report, and says in short what a terminal and a demo show of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kinema_jobs.report.page import page
from kinema_model.evaluation import Report, Row

JSON_FILE: Final = "report.json"
HTML_FILE: Final = "report.html"
_ATTRIBUTES: Final = ("colour", "shape", "direction")
_SEEN: Final = "seen"


@dataclass(frozen=True)
class Origin:
    """Where a report comes from: the model's folder and digest, and how long it took."""

    model: str
    digest: str | None
    seconds: float


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
        **report.model_dump(mode="json"),
    }


def summary(report: Report) -> dict[str, dict[str, float | None]]:
    """Accuracy by attribute of captions like those of training, with chance and the reader's own accuracy."""
    captions = report.sections.get("captions")
    rows = {row.name: row for row in captions.rows if row.group == _SEEN} if captions else {}
    return {name: _accuracy(rows[name]) for name in _ATTRIBUTES if name in rows}


def _accuracy(row: Row) -> dict[str, float | None]:
    return {
        "accuracy": row.score.value,
        "low": row.score.low,
        "high": row.score.high,
        "chance": row.chance,
        "parser_accuracy": row.floor.value if row.floor else None,
    }

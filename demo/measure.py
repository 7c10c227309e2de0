"""Runs jobs as processes of their own and shows how far they are; the model measured is one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from console import console, live_bar
from stage.kube import StageError

CLIPS: Final = 128
"""Of each group of captions; a quarter of it of each task."""


def events(command: list[str]) -> Iterator[dict[str, Any]]:
    """JSON-lines events of a job run as a module."""
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("{"):
            yield json.loads(line)
    if process.wait():
        console.print(f"[red]{command[0]} ended with {process.returncode}")


def evaluate(folder: Path, out: Path) -> dict[str, dict[str, float]]:
    """Measure a model folder; accuracy by attribute. The whole report lies in `out`."""
    command = ["kinema_jobs.evaluate", "--model", str(folder), "--out", str(out), "--clips", str(CLIPS), "--json"]
    report: dict[str, Any] = {}
    with live_bar() as bar:
        task = bar.add_task("loading", total=1)
        for event in events(command):
            if event.get("event") == "progress":
                bar.update(task, description=event["section"], completed=event["done"], total=event["total"])
            else:
                report = event
        bar.update(task, description="measured", completed=1, total=1)
    if "attributes" not in report:
        raise StageError(f"the model was not measured: {report.get('error', 'see the lines above')}")
    return dict(report["attributes"])

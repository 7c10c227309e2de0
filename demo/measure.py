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

SECTIONS: Final = ("captions", "motion")
"""What a demo measures within a minute; `python -m kinema_jobs.evaluate` measures the rest too."""
CLIPS: Final = 64
"""Of each group of captions."""


class Job:
    """A job as a process, whose events are read when somebody wants them."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        self._process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True)

    def events(self) -> Iterator[dict[str, Any]]:
        """Its JSON lines, until it has ended."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
        if self._process.wait():
            console.print(f"[red]{self._module} ended with {self._process.returncode}")


def events(command: list[str]) -> Iterator[dict[str, Any]]:
    """JSON-lines events of a job run as a module."""
    return Job(*command).events()


def measuring(folder: Path, out: Path) -> Job:
    """Begin to measure a model folder; the whole report will lie in `out`."""
    sections = [argument for section in SECTIONS for argument in ("--section", section)]
    options = ["--model", str(folder), "--out", str(out), "--clips", str(CLIPS), "--json", *sections]
    return Job("kinema_jobs.evaluate", *options)


def measured(job: Job) -> dict[str, dict[str, float]]:
    """Wait for the end of a measurement; accuracy by attribute."""
    report: dict[str, Any] = {}
    with live_bar() as bar:
        task = bar.add_task("loading", total=1)
        for event in job.events():
            if event.get("event") == "progress":
                bar.update(task, description=event["section"], completed=event["done"], total=event["total"])
            else:
                report = event
        bar.update(task, description="measured", completed=1, total=1)
    if "attributes" not in report:
        raise StageError(f"the model was not measured: {report.get('error', 'see the lines above')}")
    return dict(report["attributes"])

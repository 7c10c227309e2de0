"""The work folder of the learning benchmark, so that it can be run in slices and stopped at any moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.learning_race import Record, Run
from stage.slices import StateFile


class Folder:
    """Results of ended runs in state.json and a snapshot of each run under way.

    Raises `ConfigError` if the folder holds results of other settings, which cannot be combined.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._state = StateFile(path / "state.json", settings, "Remove it or set LEARNING_FOLDER.")
        self.records = {key: Record.of(record) for key, record in self._state.found.items()}

    def end(self, key: str, record: Record) -> None:
        """Store the result of a run and delete its snapshot."""
        self.records[key] = record
        self._state.write({name: asdict(kept) for name, kept in self.records.items()})
        self._snapshot(key).unlink(missing_ok=True)

    def keep(self, key: str, run: Run) -> None:
        """Snapshot a run under way."""
        run.save(self._snapshot(key))

    def take_up(self, key: str, run: Run) -> None:
        """Restore a new run from its snapshot, if there is one."""
        if self._snapshot(key).exists():
            run.load(self._snapshot(key))

    def _snapshot(self, key: str) -> Path:
        return self._path / f"{key.replace('/', '-')}.pt"

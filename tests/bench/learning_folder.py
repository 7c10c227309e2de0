"""The work folder of the learning benchmark, so that it can be run in slices and stopped at any moment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.learning_race import Record, Run
from kinema_model.errors import ConfigError


class Folder:
    """Results of ended runs in state.json and a snapshot of each run under way.

    Raises `ConfigError` where the folder holds results under other settings, since they cannot be put together.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._settings = json.loads(json.dumps(settings))
        self._state = path / "state.json"
        path.mkdir(parents=True, exist_ok=True)
        stored = json.loads(self._state.read_text()) if self._state.exists() else {}
        if stored and stored["settings"] != self._settings:
            raise ConfigError(f"{path} holds results under other settings. Remove it or set LEARNING_FOLDER.")
        self.records = {key: Record.of(record) for key, record in stored.get("records", {}).items()}

    def end(self, key: str, record: Record) -> None:
        """Keep what a run came to; its snapshot is of no more use."""
        self.records[key] = record
        records = {name: asdict(kept) for name, kept in self.records.items()}
        part = self._state.with_suffix(".part")
        part.write_text(json.dumps({"settings": self._settings, "records": records}))
        os.replace(part, self._state)
        self._snapshot(key).unlink(missing_ok=True)

    def keep(self, key: str, run: Run) -> None:
        """Snapshot a run under way."""
        run.save(self._snapshot(key))

    def take_up(self, key: str, run: Run) -> None:
        """Put a fresh run where its snapshot stood, if there is one."""
        if self._snapshot(key).exists():
            run.load(self._snapshot(key))

    def _snapshot(self, key: str) -> Path:
        return self._path / f"{key.replace('/', '-')}.pt"

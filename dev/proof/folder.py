"""The proof's work folder: where training stands, the compute points, the clips that were made, the sections measured.

Every file is replaced atomically, so that a call may be killed at any moment; the next call resumes from the files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from kinema_evaluation import ContactSheet, ReportClip, Section
from stage.slices import StateFile, replace_file

_SNAPSHOT: Final = "training.pt"


class Folder:
    """Raises `ConfigError` if the folder holds results of other settings, which cannot be combined."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._state = StateFile(path / "state.json", settings, "Remove it or set PROOF_FOLDER.")
        self.clips = path / "clips"
        self.clips.mkdir(exist_ok=True)

    @property
    def records(self) -> dict[str, Any]:
        """Stored records by name."""
        return self._state.found

    def note(self, name: str, record: Any) -> None:
        """Keep a record of a phase."""
        self._state.write({**self._state.found, name: record})

    def keep_training(self, state: Mapping[str, Any]) -> None:
        """Store a snapshot of the training."""
        replace_file(self.path / _SNAPSHOT, lambda part: torch.save(dict(state), part))

    def training(self, device: torch.device) -> dict[str, Any] | None:
        """The snapshot of the training; None before the first."""
        file = self.path / _SNAPSHOT
        if not file.exists():
            return None
        stored: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
        return stored

    def point(self, name: str) -> Path:
        """Folder of the model at a compute point."""
        return self.path / "points" / name

    def keep_point(self, name: str, write: Callable[[Path], None]) -> None:
        """Have `write` make the model folder of a compute point."""
        target = self.point(name)
        part = target.with_name(f"{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        write(part)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)

    def keep_section(self, name: str, section: Section) -> None:
        """Keep a section with its clips."""
        clips: dict[str, Any] = {}
        sheets: list[dict[str, Any]] = []
        for sheet in section.sheets:
            shown = []
            for one in sheet.shown:
                key = f"clip{len(clips)}"
                clips[key] = one.video
                shown.append({"label": one.label, "good": one.good, "clip": key})
            sheets.append({"title": sheet.title, "shown": shown})
        replace_file(self._sheets(name), lambda part: _save(part, clips))
        self.note(f"section {name}", {"section": section.model_dump(mode="json"), "sheets": sheets})

    def section(self, name: str) -> Section | None:
        """A section as it was kept; None where it was not."""
        record = self.records.get(f"section {name}")
        if record is None:
            return None
        with np.load(self._sheets(name), allow_pickle=False) as clips:
            sheets = tuple(
                ContactSheet(
                    sheet["title"],
                    tuple(ReportClip(one["label"], clips[one["clip"]], one["good"]) for one in sheet["shown"]),
                )
                for sheet in record["sheets"]
            )
        return Section.model_validate_json(json.dumps(record["section"])).model_copy(update={"sheets": sheets})

    def _sheets(self, name: str) -> Path:
        return self.path / f"{name.replace(' ', '-')}.npz"


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    # An open file, since numpy adds .npz to a name without it.
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)

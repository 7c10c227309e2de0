"""Long measurements in calls of limited duration: when a call must end, and files that survive a kill."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from kinema_model.errors import ConfigError

STOPPED: Final = 75
"""Exit status of a call that is not the last (EX_TEMPFAIL)."""


class SliceOver(Exception):
    """The wall-clock time of this call is used up; everything is saved."""


class Slice:
    """One call of limited duration, counted from the creation of this object."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + seconds

    @property
    def over(self) -> bool:
        """Whether the call's time is used up."""
        return self._clock() >= self._until

    def check(self) -> None:
        """Raise `SliceOver` if it is."""
        if self.over:
            raise SliceOver


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Replace a file atomically: a process killed while writing leaves the old one."""
    part = path.with_name(f"{path.name}.part")
    write(part)
    os.replace(part, path)


class StateFile:
    """Results so far, in a JSON file, together with the settings that they were measured with.

    Raises `ConfigError` if the file holds results of other settings, which do not combine; `advice` ends the message.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], advice: str) -> None:
        self._path = path
        self._settings = json.loads(json.dumps(settings))
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = json.loads(path.read_text()) if path.exists() else {}
        if stored and stored["settings"] != self._settings:
            raise ConfigError(f"{path.parent} holds results under other settings. {advice}")
        self.found: dict[str, Any] = stored.get("records", {})

    def write(self, found: Mapping[str, Any]) -> None:
        """Replace the stored results."""
        self.found = dict(found)
        text = json.dumps({"settings": self._settings, "records": self.found})
        replace_file(self._path, lambda part: part.write_text(text))

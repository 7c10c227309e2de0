"""What an agent hands to its workers for one round, in a module that imports neither torch nor Lightning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kinema_api.run import RunConfig
from kinema_jobs.rendezvous.questions import Place
from kinema_jobs.train.settings import TrainerSettings

DONE: Final = "done"
"""The final manifest is committed."""
STOPPED: Final = "stopped"
"""The round ended as planned, with a checkpoint."""


@dataclass(frozen=True)
class Assignment:
    """A worker's place and where its files are."""

    config: RunConfig
    settings: TrainerSettings
    place: Place
    lease: Path
    scratch: Path
    last_word: Path
    port: int
    """Where the agent serves /progress."""

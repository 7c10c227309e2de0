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
    termination_message: Path
    port: int
    """Where the agent serves /progress."""

    def abort_file(self, local_rank: int) -> Path:
        """File in which a worker that dies by a signal writes the stack traces of its threads."""
        return self.scratch / f"abort-{local_rank}.txt"

    def aborted_from_outside_python(self, local_rank: int) -> bool:
        """Whether a worker was aborted by a thread of a library: NCCL's watchdog, when a collective took too long."""
        try:
            traces = self.abort_file(local_rank).read_text(errors="replace")
        except OSError:
            return False
        # Python marks the thread that received the signal, if it is a Python thread.
        return "Aborted" in traces and "Current thread" not in traces

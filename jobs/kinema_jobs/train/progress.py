"""The progress file: the worker writes it, the agent serves it. Written whole and renamed, so never read torn."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from kinema_api.wire import TrainerProgress


class ProgressFile(TrainerProgress):
    """What /progress answers, and what only /metrics and the local runner need."""

    port: int = 0
    """Port on which the agent serves."""
    step_ended_at: float | None = None
    """When this round's newest step ended, on this machine's monotonic clock."""
    committed_at: float | None = None
    """When `checkpoint` was committed, on this machine's monotonic clock; None: not in this round."""
    first_step_time: float | None = None
    """When this round's first optimizer step ended, in seconds since the epoch."""
    level_losses: tuple[float | None, ...] = ()
    """The loss of the last step by noise level, in equal bins from clean to noise."""
    validation_level_losses: tuple[float | None, ...] = ()
    """The validation loss by noise level, in the same bins."""
    validation_loss: float | None = None
    """Loss of the averaged weights on clips that are the same in every run, at the last checkpoint."""
    data_wait_seconds: float = 0.0
    """Time spent waiting for clips, since this round began."""
    checkpoint_stall_seconds: float = 0.0
    """Time for which checkpoints blocked training, since this round began."""
    validation_stall_seconds: float = 0.0
    """Time for which validation blocked training, since this round began; not part of the checkpoints' time."""
    steps_this_round: int = 0


def write_progress(path: Path, progress: ProgressFile) -> None:
    """Replace the progress file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(progress.model_dump_json(by_alias=True, exclude_none=True))
    draft.replace(path)


def read_progress(path: Path) -> ProgressFile | None:
    """The progress last written; None if there is none yet."""
    try:
        return ProgressFile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None

"""Runs a job of one process to its end, and tells why it failed as the process saw it."""

from __future__ import annotations

import time
from typing import Final

from torchx.specs import AppDef

from kinema_api.wire import TerminationMessage
from kinema_jobs.local.site import Folders, LocalRun
from kinema_jobs.train.failures import TrainingFailure

_LOOK_SECONDS: Final = 0.1


def run_to_end(app: AppDef, folders: Folders, role: str, what: str) -> None:
    """Start the processes of `app` and wait for the first of `role`; `what` names it in messages.

    Raises:
        TrainingFailure: it failed; with the failure class that it left.
    """
    folders.work.mkdir(parents=True, exist_ok=True)
    run = LocalRun(app, folders, role)
    try:
        while (code := run.exit_codes()[0]) is None:
            time.sleep(_LOOK_SECONDS)
    finally:
        run.close()
    if code == 0:
        return
    path = folders.termination_message(0)
    if not path.is_file():
        raise TrainingFailure(f"{what} ended with {code}: see its logs in {folders.logs}")
    word = TerminationMessage.model_validate_json(path.read_bytes())
    failure = TrainingFailure(f"{word.message} (logs in {folders.logs})")
    failure.failure_class = word.failure_class  # type: ignore[misc]  # as the process saw it
    raise failure

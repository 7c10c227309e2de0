"""The checkpoint that a training resumes from, for its status. Pure."""

from __future__ import annotations

from kinema_api.training_status import CheckpointStatus
from kinema_operator.core.stores import store_location
from kinema_operator.training.observed import ResumePoint
from kinema_operator.training.uri import uri
from kinema_operator.training.view import View


def checkpoint_of(view: View, resume: ResumePoint) -> CheckpointStatus | None:
    """The newest complete checkpoint, or None."""
    if resume.prefix is None or resume.digest is None:
        return None
    address = uri(store_location(view.spec.artifact_store, view.settings), resume.prefix)
    return CheckpointStatus(step=resume.step, uri=address, digest=resume.digest, time=resume.time or view.now)

"""Restores the run of a training without a status from its artefacts in the bucket.

A restore from a backup keeps specs and annotations, but objects get a new UID and no status. So as soon as something is
committed, the UID of the artefacts' folder, the run and its runId are recorded in an annotation. Restored are the
newest run, its newest attempt, its checkpoints, its export and its published model; not restored are counts of restarts
and the history. A new training of the same name has no such annotation and starts from scratch.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kinema_api.training import ArtifactsRecord
from kinema_operator.core.plan import Effect
from kinema_operator.training.effects import RememberArtifacts
from kinema_operator.training.observed import RunFound
from kinema_operator.training.view import Status, View

SURELY_NEW: Final = timedelta(seconds=60)
"""A younger training without a status is not looked up in the bucket, to save lists when many start at once."""


def may_have_lived(view: View) -> bool:
    """Whether a training without a status may have had one."""
    born = view.training.metadata.creation_timestamp
    old = born is not None and view.now - born > SURELY_NEW
    return view.status.run == 0 and (old or view.training.artifacts.run > 0 or bool(view.seen.jobs or view.seen.pods))


def is_the_present_run(view: View, found: RunFound) -> bool:
    """Whether the run found in the bucket is the one that the spec requests."""
    record = view.training.artifacts
    if record.run == 0:
        # Without an annotation assume that it is: an older operator wrote none.
        return True
    return (record.run, record.run_id) == (found.run, view.spec.run_id)


def remembered(view: View, status: Status) -> tuple[Effect, ...]:
    """Write the annotation once there is something to restore."""
    something = status.last_checkpoint or status.phase in ("Evaluating", "Publishing", "Succeeded")
    record = ArtifactsRecord(view.training.artifacts.uid, status.run, status.run_id)
    return (RememberArtifacts(record),) if something and record != view.training.artifacts else ()

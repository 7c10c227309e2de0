"""A training without a status whose artefacts are in the bucket: its run is found again, and goes on.

A backup of the cluster keeps specs and annotations, and gives each object that is restored a new UID and no status.
So the UID under which artefacts lie, the run and its runId stand in an annotation as soon as something is committed.
What is found again: the newest run, its newest attempt, its checkpoints, its export and what was published of it. What
is not: counts of restarts, history, the budget of tries. A training of the same name that carries no such annotation,
because a person wrote it anew, begins anew.
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
"""A training that is younger and never ran is not looked for in the bucket: many that begin at once cost no lists."""


def may_have_lived(view: View) -> bool:
    """Whether a training without a status may have had one."""
    born = view.training.metadata.creation_timestamp
    old = born is not None and view.now - born > SURELY_NEW
    return view.status.run == 0 and (old or view.training.artifacts.run > 0 or bool(view.seen.jobs or view.seen.pods))


def is_the_present_run(view: View, found: RunFound) -> bool:
    """Whether the run that was found is the one that the spec asks for."""
    record = view.training.artifacts
    if record.run == 0:
        # Nothing says otherwise: the status is lost, or an older operator wrote no annotation.
        return True
    return (record.run, record.run_id) == (found.run, view.spec.run_id)


def remembered(view: View, status: Status) -> tuple[Effect, ...]:
    """Have the annotation written when there is something to be found again."""
    something = status.last_checkpoint or status.phase in ("Evaluating", "Publishing", "Succeeded")
    record = ArtifactsRecord(view.training.artifacts.uid, status.run, status.run_id)
    return (RememberArtifacts(record),) if something and record != view.training.artifacts else ()

"""Deletion of files after a run, and deletion of the resource. Pure.

After a run whose model is published, the newest `checkpoint.keep` checkpoints, the report and the manifest of the
export are kept, and all other files of its attempts are deleted. The resource is deleted `ttlSecondsAfterFinished`
after its end. Its files are then kept, unless `deletionPolicy: Delete` deletes them, for which the resource has a
finalizer. Published models are always kept.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Final

from kinema_api import layout, names
from kinema_api.training import KIND
from kinema_operator.core.plan import Effect, Event, Plan, Ref
from kinema_operator.training import children
from kinema_operator.training.effects import CleanAttempts, DeleteArtifacts, SetFinalizer
from kinema_operator.training.phases import termination
from kinema_operator.training.view import View, change

GIVE_UP_AFTER: Final = timedelta(minutes=10)
"""Time after the deletion of a training after which its finalizer is removed even if its artefacts remain."""


def after_the_end(view: View, plan: Plan) -> Plan:
    """`plan` of a run that has ended, with the deletion of its files and of the resource."""
    if termination.unfinished_pods(view) or plan.delete:
        return plan
    status = view.changed()
    if status.phase == "Succeeded" and status.cleaned_run < status.run:
        if view.seen.cleaned_run == status.run:
            return Plan(status=change(status, cleaned_run=status.run), requeue_after=0.0)
        effect = CleanAttempts(
            view.run_prefix, layout.evaluation_prefix(view.attempt_prefix), view.spec.checkpoint.keep
        )
        return dataclasses.replace(plan, effects=(*plan.effects, effect), requeue_after=0.0)
    ttl = view.spec.ttl_seconds_after_finished
    if ttl is None or status.completion_time is None:
        return plan
    left = (status.completion_time + timedelta(seconds=ttl) - view.now).total_seconds()
    if left > 0:
        return dataclasses.replace(plan, requeue_after=left if plan.requeue_after is None else plan.requeue_after)
    meta = view.training.metadata
    own = Ref(names.API_VERSION, KIND, meta.namespace, meta.name, meta.uid)
    event = Event("Expired", f"ttlSecondsAfterFinished ({ttl}) is over: this resource is deleted")
    return dataclasses.replace(plan, delete=(own,), events=(*plan.events, event))


def finalizer(view: View) -> tuple[Effect, ...]:
    """Add or remove the finalizer as deletionPolicy requires."""
    wanted = view.spec.deletion_policy == "Delete"
    has = names.FINALIZER in view.training.metadata.finalizers
    return (SetFinalizer(wanted),) if wanted != has else ()


def leave(view: View) -> Plan:
    """The plan of a training that is being deleted: its artefacts are deleted first."""
    meta = view.training.metadata
    if names.FINALIZER not in meta.finalizers:
        return Plan()
    gone = children.of_every_attempt(view, keep_finished_job=False)
    if view.spec.deletion_policy != "Delete":
        return Plan(delete=gone, effects=(SetFinalizer(False),))
    waits = termination.waiting_message(view)
    problem = view.seen.storage_problem
    if view.seen.remains is False and not waits:
        return Plan(delete=gone, effects=(SetFinalizer(False),))
    since = meta.deletion_timestamp or view.now
    if (waits or problem) and view.now - since >= GIVE_UP_AFTER:
        why = problem.message if problem else waits
        prefix = view.training_prefix
        message = f"Objects below {prefix} in the bucket were not deleted: {why}; `kinema gc` lists them"
        return Plan(delete=gone, events=(Event("ArtifactsLeft", message, "Warning"),), effects=(SetFinalizer(False),))
    if waits:
        return Plan(delete=gone, requeue_after=children.LOOK_AGAIN_SECONDS)
    if problem or view.seen.remains is None:
        return Plan(delete=gone, requeue_after=view.settings.store_probe_seconds)
    return Plan(delete=gone, effects=(DeleteArtifacts(view.training_prefix),), requeue_after=0.0)

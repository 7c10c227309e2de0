"""Observes a training: the cache, its trainers, its Secret, and the object store if the plan needs it."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime
from typing import Final

from kinema_api import head as heads
from kinema_api import layout, names, serving
from kinema_api.base import utc_now
from kinema_api.errors import BrokenManifest, StorageError
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.reports import read_result
from kinema_api.training import KIND, VideoModelTraining
from kinema_operator.core.controller import Cache
from kinema_operator.core.errors import Denied
from kinema_operator.core.plan import Key, KubeObject
from kinema_operator.core.resources import NODE_KIND
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import storage_reason, store_location
from kinema_operator.shell.conditional_writes import ConditionalStores
from kinema_operator.shell.storage import SecretReader, Stores
from kinema_operator.shell.store_limits import ask
from kinema_operator.training import fence, nodes, prepared_clips, running_condition, shared
from kinema_operator.training.bases import find_base
from kinema_operator.training.objects.secret import TRAINERS, Holder, expiry, scope_for, secret_name
from kinema_operator.training.observed import (
    ExportSeen,
    Observed,
    ReportSeen,
    ResumePoint,
    Rival,
    StorageProblem,
)
from kinema_operator.training.phases import base, next_attempt, restore, suspension
from kinema_operator.training.plan import sign_of_failure
from kinema_operator.training.read import read_job, read_pod
from kinema_operator.training.trainers import Trainers
from kinema_operator.training.uri import key as key_of
from kinema_operator.training.view import View

SECRET_RECHECK_SECONDS: Final = 60.0
"""A training's Secret is read again after this long, since it may have been deleted."""


class Observer:
    """Observes trainings; decides nothing."""

    def __init__(self, settings: Settings, client: SecretReader, stores: Stores, trainers: Trainers) -> None:
        self._settings = settings
        self._client = client
        self._stores = stores
        self._trainers = trainers
        self._expiries: dict[tuple[str, Holder, str], tuple[datetime | None, float]] = {}
        """Expiry of credentials, by UID, by who holds them and by what they allow."""
        self._refusals: dict[str, StorageError] = {}
        self._cleaned: dict[str, int] = {}
        """The last cleaned run, by UID."""
        self._fencing = ConditionalStores(weak_allowed=settings.allow_weak_fence)

    async def observe(self, training: VideoModelTraining, cache: Cache) -> Observed:
        """The observation for the plan of this training."""
        seen, pods = self._from_cache(training, cache)
        view = View(training, seen, self._settings, utc_now())
        if training.metadata.deletion_timestamp:
            return await self._remains(view)
        if training.status.phase == "Preparing" and not view.wants_new_run:
            return await self._preparing(view, pods)
        if view.wants_new_run or view.between_attempts:
            return await self._between_attempts(view, cache)
        if training.status.phase in ("Pending", "Training"):
            return await self._attempt(view, pods, cache)
        if training.status.phase == "Evaluating":
            return await self._evaluating(view)
        if training.status.phase == "Publishing":
            return await self._publishing(view)
        self._trainers.forget(_key(training))
        for known in [known for known in self._expiries if known[0] == training.metadata.uid]:
            del self._expiries[known]
        self._refusals.pop(training.metadata.uid, None)
        return dataclasses.replace(seen, cleaned_run=self._cleaned.get(training.metadata.uid, 0))

    async def _remains(self, view: View) -> Observed:
        """Whether the bucket has files of a training that is being deleted."""
        meta = view.training.metadata
        refusal = self._refusals.pop(meta.uid, None)
        if refusal:
            return dataclasses.replace(view.seen, storage_problem=_problem(refusal))
        try:
            store = await self._stores.for_object(meta.namespace, view.spec.artifact_store)
            some = await ask(store, _anything, store, view.training_prefix)
        except StorageError as error:
            return dataclasses.replace(view.seen, storage_problem=_problem(error))
        return dataclasses.replace(view.seen, remains=some)

    def remember_cleaned(self, training: VideoModelTraining) -> None:
        """Remember that the current run has been cleaned, for the next observation."""
        self._cleaned[training.metadata.uid] = training.status.run

    def remember_credentials(self, training: VideoModelTraining, expires: datetime, holder: Holder = TRAINERS) -> None:
        """Remember the expiry of a Secret that was just written, so that it is not read back."""
        known = (training.metadata.uid, holder, scope_for(training, holder).digest)
        self._expiries[known] = (expires, time.monotonic())
        self._refusals.pop(training.metadata.uid, None)

    def remember_refusal(self, training: VideoModelTraining, error: StorageError) -> None:
        """Remember why the store issued no credentials, for the next observation."""
        self._refusals[training.metadata.uid] = error

    def _from_cache(self, training: VideoModelTraining, cache: Cache) -> tuple[Observed, list[KubeObject]]:
        meta = training.metadata
        labels = {names.LABEL_TRAINING: meta.name}
        jobs = [job for job in cache.list("Job", meta.namespace, labels) if _belongs(job, meta.uid)]
        # Find pods even without their Job: while they run, they may write.
        known = {job["metadata"]["uid"] for job in cache.list("Job", meta.namespace, labels)}
        owners = {job["metadata"]["uid"] for job in jobs} | {meta.uid}
        own = {meta.uid, training.artifacts.uid}
        pods = [pod for pod in cache.list("Pod", meta.namespace, labels) if _is_of(pod, own, owners, known)]
        publish = training.spec.publish
        exists = publish is not None and cache.get(serving.KIND, meta.namespace, publish.model) is not None
        seen = Observed(
            jobs=tuple(read_job(job) for job in sorted(jobs, key=_name)),
            pods=tuple(nodes.with_node(read_pod(pod), cache) for pod in sorted(pods, key=_name)),
            nodes_watched=cache.list_state(NODE_KIND) != "refused",
            stores_named=shared.stores_named(cache, meta.namespace),
            older=shared.of_older_versions(training, cache),
            preparation_policies=shared.preparation_policies(training, cache),
            model_exists=exists,
        )
        return seen, pods

    async def _between_attempts(self, view: View, cache: Cache) -> Observed:
        training, status = view.training, view.status
        if training.spec.suspend:
            return await self._resume_point(view) if suspension.asks_what_to_go_on_from(view) else view.seen
        # A training that never ran has no Secret: this saves a request when many trainings start at once.
        seen = view.seen if status.run == 0 else (await self._with_secret(view)).seen
        try:
            store = await self._stores.checked(training.metadata.namespace, training.spec.artifact_store)
            await self._fencing.require(store, view.training_prefix)
            if restore.may_have_lived(view):
                seen = dataclasses.replace(seen, found=await ask(store, fence.find_run, store, view))
            if view.wants_new_run or status.attempt == 0:
                run = status.run + 1 if view.wants_new_run else status.run
                resume = ResumePoint(run, 0, None)
            else:
                resume = await ask(store, _find_resume_point, store, view)
            found = await find_base(training, cache, store) if base.is_wanted(view) else None
        except StorageError as error:
            return dataclasses.replace(seen, storage_problem=_problem(error))
        return dataclasses.replace(seen, resume=resume, base=found)

    async def _attempt(self, view: View, pods: list[KubeObject], cache: Cache) -> Observed:
        meta, status = view.training.metadata, view.status
        view = await self._with_secret(view)
        running = {pod.name for pod in view.trainers if pod.running}
        group = await self._trainers.group(
            _key(view.training),
            status.run,
            status.attempt,
            [pod for pod in pods if pod["metadata"]["name"] in running],
            view.spec.min_nodes,
        )
        silent = await self._trainers.silent(nodes.to_ask(view, pods))
        seen = nodes.with_silence(view.seen, group.progress, silent, group.quiet_seconds)
        seen = dataclasses.replace(
            seen,
            progress=group.progress,
            quiet_seconds=group.quiet_seconds,
            answering=group.answering,
            short_seconds=group.short_seconds,
            cut_off_seconds=group.cut_off_seconds,
            lease_seconds=group.lease_seconds,
            rivals=_rivals(view.training, cache) if group.short_seconds > 0 else (),
        )
        view = _with(view, seen)
        if suspension.asks_what_to_go_on_from(view):
            return await self._resume_point(_with(view, await self._store_facts(view)))
        if _export_may_exist(view):
            return await self._store_facts(view)
        if view.seen.credentials_expire is None:
            try:
                await self._stores.checked(meta.namespace, view.spec.artifact_store)
            except StorageError as error:
                return dataclasses.replace(view.seen, storage_problem=_problem(error))
            refusal = self._refusals.get(meta.uid)
            if refusal:
                return dataclasses.replace(view.seen, storage_problem=_problem(refusal))
        return view.seen

    async def _resume_point(self, view: View) -> Observed:
        """The checkpoint that a training resumes from after its suspension."""
        try:
            store = await self._stores.for_object(view.training.metadata.namespace, view.spec.artifact_store)
            resume = await ask(store, _find_resume_point, store, view)
        except StorageError as error:
            return dataclasses.replace(view.seen, storage_problem=_problem(error))
        return dataclasses.replace(view.seen, resume=resume)

    async def _preparing(self, view: View, pods: list[KubeObject]) -> Observed:
        meta = view.training.metadata
        view = await self._with_secret(view, Holder(prepares=True))
        seen = view.seen
        try:
            store = await self._stores.for_object(meta.namespace, view.spec.artifact_store)
            prepared = await ask(store, prepared_clips.look, store, view)
        except StorageError as error:
            return dataclasses.replace(seen, storage_problem=_problem(error))
        if prepared.dataset is None:
            running = {pod.name for pod in view.preparers if pod.running}
            at_work = [pod for pod in pods if pod["metadata"]["name"] in running]
            prepared = dataclasses.replace(prepared, progress=await self._trainers.preparing(at_work))
        refusal = self._refusals.get(meta.uid)
        if refusal and seen.credentials_expire is None:
            seen = dataclasses.replace(seen, storage_problem=_problem(refusal))
        return dataclasses.replace(seen, prepared=prepared)

    async def _evaluating(self, view: View) -> Observed:
        meta = view.training.metadata
        view = await self._with_secret(view)
        seen = await self._store_facts(view)
        try:
            store = await self._stores.for_object(meta.namespace, view.spec.artifact_store)
            report = await ask(store, _look_at_report, store, view)
        except StorageError as error:
            return dataclasses.replace(seen, export=None, storage_problem=_problem(error))
        refusal = self._refusals.get(meta.uid)
        if refusal and seen.credentials_expire is None:
            seen = dataclasses.replace(seen, storage_problem=_problem(refusal))
        return dataclasses.replace(seen, report=report)

    async def _publishing(self, view: View) -> Observed:
        view = _with(view, await self._store_facts(view))
        if view.export is None or view.export.digest is None or view.export.published:
            return view.seen
        seen = (await self._with_secret(view, Holder(view.export.digest))).seen
        refusal = self._refusals.get(view.training.metadata.uid)
        if refusal and seen.credentials_expire is None:
            seen = dataclasses.replace(seen, storage_problem=_problem(refusal))
        return seen

    async def _store_facts(self, view: View) -> Observed:
        meta = view.training.metadata
        try:
            store = await self._stores.for_object(meta.namespace, view.spec.artifact_store)
            export = await ask(store, _look_at_export, store, view)
        except StorageError as error:
            return dataclasses.replace(view.seen, storage_problem=_problem(error))
        return dataclasses.replace(view.seen, export=export)

    async def _with_secret(self, view: View, holder: Holder = TRAINERS) -> View:
        training = view.training
        known = (training.metadata.uid, holder, scope_for(training, holder).digest)
        expires, read_at = self._expiries.get(known, (None, 0.0))
        if expires is None or time.monotonic() - read_at > SECRET_RECHECK_SECONDS:
            try:
                location = store_location(training.spec.artifact_store, self._settings)
            except StorageError:
                return view
            name = secret_name(training, holder)
            try:
                secret = await self._client.get("Secret", training.metadata.namespace, name)
                expires = expiry(secret, training, location, holder)
            except Denied:
                # Without permission to read Secrets, use the expiry recorded in the status.
                expires = training.status.credentials_expire if holder == TRAINERS else expires
            self._expiries[known] = (expires, time.monotonic())
        usable = expires if expires and expires > view.now else None
        return _with(view, dataclasses.replace(view.seen, credentials_expire=usable))


def _problem(error: StorageError) -> StorageProblem:
    return StorageProblem(storage_reason(error), str(error))


def _anything(store: ObjectStore, prefix: str) -> bool:
    return next(iter(store.list(prefix)), None) is not None


def _export_may_exist(view: View) -> bool:
    """Whether to read the export: the trainers report it, or have ended, or there is a sign of failure."""
    progress = view.progress
    if progress and (progress.exported or 0 < progress.total_steps <= progress.step):
        return True
    if any(pod.end for pod in view.trainers):
        return True
    return sign_of_failure(view) is not None


def _rivals(training: VideoModelTraining, cache: Cache) -> tuple[Rival, ...]:
    """Other trainings, of any namespace, with running pods that wait for more."""
    own = training.metadata
    found = []
    for other in cache.list(KIND):
        metadata = other["metadata"]
        conditions = (other.get("status") or {}).get("conditions") or ()
        waits = any(c.get("type") == "Running" and c.get("reason") == running_condition.TOO_FEW for c in conditions)
        if waits and metadata["uid"] != own.uid and not metadata.get("deletionTimestamp"):
            born = metadata.get("creationTimestamp") or ""
            mine = own.creation_timestamp.strftime("%Y-%m-%dT%H:%M:%SZ") if own.creation_timestamp else ""
            older = (born, metadata["uid"]) < (mine, own.uid)
            found.append(Rival(metadata["namespace"], metadata["name"], older))
    return tuple(found)


def _find_resume_point(store: ObjectStore, view: View) -> ResumePoint:
    status = view.status
    resumed_from = key_of(store.location, status.resume_from)
    found = fence.find(store, view.attempt_prefix, resumed_from, further_back=next_attempt.goes_further_back(status))
    if found.checkpoint is None:
        return ResumePoint(status.run, status.attempt, None, 0, found.passed_over, closed=found.closed)
    prefix = found.checkpoint.prefix
    manifest = Manifest.read(store, prefix + layout.MANIFEST)
    return ResumePoint(
        status.run,
        status.attempt,
        prefix,
        found.checkpoint.step,
        found.passed_over,
        manifest.digest(),
        manifest.created,
        found.closed,
    )


def _look_at_export(store: ObjectStore, view: View) -> ExportSeen:
    run, attempt = view.status.run, view.status.attempt
    try:
        prefix = heads.export_of(store, view.attempt_prefix)
        manifest = fence.read_export(store, prefix) if prefix else None
    except BrokenManifest as error:
        return ExportSeen(run, attempt, problem=str(error))
    if prefix is None:
        return ExportSeen(run, attempt)
    if manifest is None:
        return ExportSeen(run, attempt, problem=f"{prefix}{layout.MANIFEST} is named by the attempt's head but missing")
    folder, digest = prefix.removeprefix(view.attempt_prefix), manifest.digest()
    published = store.stat(layout.model_prefix(digest) + layout.MANIFEST) is not None
    return ExportSeen(run, attempt, digest=digest, folder=folder, step=manifest.step, published=published)


def _look_at_report(store: ObjectStore, view: View) -> ReportSeen:
    result = read_result(store, layout.evaluation_prefix(view.attempt_prefix))
    return ReportSeen(view.status.run, view.status.attempt, result)


def _with(view: View, seen: Observed) -> View:
    return View(view.training, seen, view.settings, view.now)


def _belongs(obj: KubeObject, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in obj["metadata"].get("ownerReferences") or ())


def _is_of(pod: KubeObject, uids: set[str], owners: set[str], jobs: set[str]) -> bool:
    """Whether a pod with this training's name in its label belongs to this training, not to a deleted one of that name.

    Args:
        pod: a pod with the training's name in its label.
        uids: UIDs of the training, before and after a restore.
        owners: UIDs of the training and of its Jobs.
        jobs: UIDs of all Jobs with that label.
    """
    metadata = pod["metadata"]
    uid = (metadata.get("labels") or {}).get(names.LABEL_TRAINING_UID)
    if uid:
        return uid in uids
    above = next((owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")), None)
    if above is None or above["uid"] in owners:
        return above is not None
    # Created by an older operator, and its Job is gone: its training is unknown, so wait for its end.
    return bool(above["kind"] == "Job" and above["uid"] not in jobs)


def _name(obj: KubeObject) -> str:
    return str(obj["metadata"]["name"])


def _key(training: VideoModelTraining) -> Key:
    return Key("VideoModelTraining", training.metadata.namespace, training.metadata.name)

"""One reconcile of one resource: observe, plan, and carry the plan out, writing only what differs.

Level-based: nothing depends on the event that led to it. What is remembered only saves requests, which are repeated
after a restart (when progress was last written, which Secrets were up to date, which objects were refused recently).

A refused object stops nothing else: it is reported in the condition Refused and retried with its own backoff.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kinema_api import names
from kinema_api.errors import InvalidManifest, KinemaApiError
from kinema_operator.core.controller import AnyController, DeletionHandler
from kinema_operator.core.errors import NamespaceEnding, OperatorError
from kinema_operator.core.kstatus import CONTENDED, REFUSED, Findings, Refusal, finish, with_condition
from kinema_operator.core.plan import Event, Key, KubeObject, Plan, WireStatus
from kinema_operator.core.refusals import Refusals, refusal_of
from kinema_operator.core.resources import ref_to
from kinema_operator.core.semantic import keeping_unknown, merge_patch
from kinema_operator.core.unreadable import leave_alone
from kinema_operator.shell import metrics
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.shell.claims import Claims
from kinema_operator.shell.client import Client
from kinema_operator.shell.events import EventPoster
from kinema_operator.shell.owned import Owned
from kinema_operator.shell.workqueue import WorkQueue
from kinema_operator.shell.writer import Trust, Writer, controller_uid

PROGRESS_FIELDS = frozenset({"progress", "queuePosition", "waiting", "lastActiveTime", "credentialsExpire"})
"""Fields of a status that change continuously; a change of only these waits for the progress interval."""
WORDS = frozenset({"conditions", "credentialsExpire"})
"""Fields that may wait where a plan says so (Plan.words_may_wait)."""
BUSY_DEPTH = 16
"""Queue depth from which messages of conditions are written later."""
BUSY_INTERVALS = 6
"""Most progress intervals that they wait then."""
DONE = "Succeeded"
"""Phase that is not entered while an object of the same plan is refused, since it would not be created later."""

STAND_BACK_SECONDS = 15.0
"""Interval at which another install's claim on a namespace is checked."""

_Write = tuple[KubeObject | None, str, Awaitable[Any]]
"""The object (None: a patch or a deletion), its kind and name, and the request."""


def utc_now() -> datetime:
    """The time for plans, in whole seconds like Kubernetes' timestamps."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Remembered:
    """State of one resource that only saves requests."""

    progress_written: float = float("-inf")
    words_since: float | None = None
    """Time since which the conditions' messages differ from the written ones."""
    trust: Trust = field(default_factory=Trust)
    refusals: Refusals = field(default_factory=Refusals)


class Reconciler:
    """Carries out the plans of the controllers."""

    def __init__(
        self,
        controllers: Iterable[AnyController],
        cache: ObjectCache,
        client: Client,
        events: EventPoster,
        queue: WorkQueue[Key],
        progress_interval: float,
        *,
        claims: Claims | None = None,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controllers: Mapping[str, AnyController] = {controller.kind: controller for controller in controllers}
        self._cache = cache
        self._client = client
        self._writer = Writer(cache, client, clock)
        self._owned = Owned(cache, client, clock)
        self._events = events
        self._claims = claims
        self._queue = queue
        self._interval = progress_interval
        self._now = now
        self._clock = clock
        self._remembered: dict[Key, Remembered] = {}
        self._ending: dict[str, frozenset[str]] = {}
        """Namespaces that are being deleted, with the UIDs of their resources at that time."""

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile one resource; returns the seconds after which to reconcile again, or None.

        Raises:
            Exception: any failure; the key is retried with backoff.
        """
        obj = self._cache.get(key.kind, key.namespace, key.name)
        if obj is None or (obj["metadata"].get("deletionTimestamp") and not _guarded(obj)):
            # The garbage collector deletes owned objects; a resource that is being deleted gets no new ones.
            self._remembered.pop(key, None)
            self._owned.forget(key)
            self._queue.forget(key)
            controller = self._controllers[key.kind]
            if isinstance(controller, DeletionHandler):
                await controller.gone(key, self._cache)
            return None
        if not _guarded(obj) and self._ends(obj):
            await self._let_go(obj)
            return None
        controller = self._controllers[key.kind]
        try:
            other = await self._claims.holder(key.namespace) if self._claims else None
            if other:
                return await self._stand_back(obj, other)
            try:
                resource = controller.parse(obj)
            except InvalidManifest as error:
                refusal = leave_alone(obj, error, self._now())
                return await self._carry_out(key, obj, None, controller, refusal)
            observed = await controller.observe(key, resource, self._cache)
            plan = controller.plan(resource, observed, self._now())
            return await self._carry_out(key, obj, resource, controller, plan)
        except NamespaceEnding:
            self._ending[key.namespace] = self._uids(key.namespace)
            await self._let_go(obj)
            return None

    async def _stand_back(self, obj: KubeObject, other: str) -> float:
        """Another install reconciles this namespace: report it once and write nothing else."""
        assert self._claims is not None
        own = self._claims.install
        if not any(c.get("type") == CONTENDED for c in (obj.get("status") or {}).get("conditions") or ()):
            message = f"the install {other} reconciles this namespace, so {own} does not: let only one of them watch it"
            conditions = with_condition(obj, CONTENDED, "True", "NamespaceClaimed", message, self._now())
            await self._client.patch_status(ref_to(obj), {"conditions": conditions}, obj["metadata"]["resourceVersion"])
            self._events.tell(obj, Event("NamespaceClaimed", message, "Warning"))
        return STAND_BACK_SECONDS

    async def _carry_out(
        self, key: Key, obj: KubeObject, resource: Any, controller: AnyController, plan: Plan
    ) -> float | None:
        remembered = self._remembered.setdefault(key, Remembered())
        failed: list[Exception] = []
        # Running pods depend on urgent effects, so a refused object must not delay them.
        for effect in plan.effects:
            if effect.urgent:
                await _tried(controller.perform(key, resource, effect), failed)
        await self._write_objects(plan, remembered.refusals, remembered.trust, failed)
        again = await self._tell(key, obj, plan, remembered)
        for effect in plan.effects:
            if not effect.urgent:
                await _tried(controller.perform(key, resource, effect), failed)
        for other in plan.wake:
            self._queue.add(other)
        if failed:
            raise failed[0]
        return again

    async def _write_objects(self, plan: Plan, refusals: Refusals, trust: Trust, failed: list[Exception]) -> None:
        """Send deletions, then objects and patches; records refusals, and adds other failures to `failed`.

        Raises:
            NamespaceEnding: nothing can be created in this namespace any more.
        """
        refusals.keep_only(plan)
        at = self._clock()
        writes: list[_Write] = [(None, f"{ref.kind} {ref.name}", self._client.delete(ref)) for ref in plan.delete]
        await self._all(writes, refusals, failed)
        writes = [
            (wanted.manifest, _what(wanted.manifest), self._writer.write(wanted, trust))
            for wanted in plan.apply
            if refusals.due(wanted.manifest, at)
        ]
        for patch in plan.patches:
            write = self._client.patch(
                *(patch.ref, patch.body, patch.resource_version),
                subresource=patch.subresource,
                strategic=patch.strategic,
            )
            writes.append((None, f"{patch.ref.kind} {patch.ref.name}", write))
        await self._all(writes, refusals, failed)

    async def _all(self, writes: list[_Write], refusals: Refusals, failed: list[Exception]) -> None:
        """Send all concurrently and wait for all, even if one fails: no write may outlast the reconcile of its key."""
        results = await asyncio.gather(*(write for _, _, write in writes), return_exceptions=True)
        for (manifest, what, _), result in zip(writes, results, strict=True):
            if not isinstance(result, BaseException):
                refusals.taken(what)
                continue
            if isinstance(result, NamespaceEnding) or not isinstance(result, Exception):
                raise result
            refusal = refusal_of(what, result)
            if refusal is None:
                failed.append(result)
            else:
                refusals.refused(refusal, manifest, self._clock())
                metrics.REFUSALS.labels(what.partition(" ")[0], refusal.reason).inc()

    async def _tell(self, key: Key, obj: KubeObject, plan: Plan, remembered: Remembered) -> float | None:
        """Write the status and post the events; returns the seconds after which to reconcile again."""
        owned, again_after = await self._owned.findings(obj)
        findings = Findings((*remembered.refusals.current, *owned.refusals), owned.trouble)
        # A refused object would not be created once the resource is done, so it is not done until then.
        held = bool(findings.refusals) and not isinstance(plan.status, WireStatus) and _enters_done(obj, plan)
        status = self._status(obj, Plan() if held else plan, findings)
        waits = [plan.requeue_after, remembered.refusals.due_in(self._clock()), again_after]
        events = (*(() if held else plan.events), *_refused_events(obj, findings.refusals))
        if status:
            patient = plan.words_may_wait and not events
            waits.append(await self._write_status(remembered, obj, status, words_may_wait=patient))
        for event in events:
            self._events.tell(obj, event)
        return min((wait for wait in waits if wait is not None), default=None)

    def _status(self, obj: KubeObject, plan: Plan, findings: Findings) -> Mapping[str, Any]:
        before: Mapping[str, Any] = obj.get("status") or {}
        if isinstance(plan.status, WireStatus):
            return plan.status.wire if plan.status.finished else finish(obj, plan.status.wire, findings, self._now())
        if plan.status is None:
            return finish(obj, before, findings, self._now()) if before else {}
        after = keeping_unknown(before, plan.status.to_wire(), type(plan.status))
        return finish(obj, after, findings, self._now())

    def _ends(self, obj: KubeObject) -> bool:
        """Whether the namespace of `obj` is being deleted."""
        metadata = obj["metadata"]
        there = self._ending.get(metadata["namespace"])
        if there is None:
            return False
        if metadata["uid"] in there:
            return True
        # Created later: there is a new namespace of that name.
        del self._ending[metadata["namespace"]]
        return False

    def _uids(self, namespace: str) -> frozenset[str]:
        return frozenset(
            str(obj["metadata"]["uid"]) for kind in self._controllers for obj in self._cache.list(kind, namespace)
        )

    async def _let_go(self, obj: KubeObject) -> None:
        """Delete the Jobs of `obj`, whose namespace is being deleted.

        A namespace's pods are deleted first (KEP-5080), and a Job with a backoff per index keeps the finalizer of a
        failed pod until it has created a replacement. It cannot, so neither would ever be deleted.
        """
        for job in self._cache.list("Job", obj["metadata"]["namespace"]):
            if controller_uid(job) == obj["metadata"]["uid"] and not job["metadata"].get("deletionTimestamp"):
                await self._client.delete(ref_to(job))

    async def _write_status(
        self, remembered: Remembered, obj: KubeObject, status: Mapping[str, Any], *, words_may_wait: bool
    ) -> float | None:
        """Write a status that differs; returns the seconds to wait if only progress differs and it is too early."""
        before: Mapping[str, Any] = obj.get("status") or {}
        difference = merge_patch(before, status)
        if not difference:
            return None
        mute = words_may_wait and _differ_in_words(before, status)
        if mute and difference.keys() <= WORDS:
            # Count from the first difference: messages in between are outdated before anyone reads them.
            since = remembered.words_since = remembered.words_since or self._clock()
            left = since + self._words_wait() - self._clock()
            if left > 0:
                return left
        elif difference.keys() <= (PROGRESS_FIELDS | WORDS if mute else PROGRESS_FIELDS):
            left = remembered.progress_written + self._interval - self._clock()
            if left > 0:
                return left
        await self._client.patch_status(ref_to(obj), difference, obj["metadata"]["resourceVersion"])
        remembered.progress_written, remembered.words_since = self._clock(), None
        metrics.WRITES.labels(obj["kind"], "status").inc()
        return None

    def _words_wait(self) -> float:
        """How long changed messages wait: while many resources start at once, their objects come first."""
        return self._interval * (BUSY_INTERVALS if self._queue.depth >= BUSY_DEPTH else 1)


def _differ_in_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two statuses differ only in reasons and messages of conditions."""

    def said(status: Mapping[str, Any]) -> list[dict[str, Any]]:
        conditions = status.get("conditions") or ()
        return [{k: v for k, v in c.items() if k not in ("reason", "message")} for c in conditions]

    return said(before) == said(after)


def _enters_done(obj: KubeObject, plan: Plan) -> bool:
    before = (obj.get("status") or {}).get("phase")
    return before != DONE and getattr(plan.status, "phase", None) == DONE


def _what(manifest: KubeObject) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _refused_events(obj: KubeObject, refusals: Iterable[Refusal]) -> Iterable[Event]:
    """Events for refusals that are new or have a new reason."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    before = next((str(c.get("message")) for c in conditions if c.get("type") == REFUSED), "")
    for refusal in refusals:
        if refusal.what not in before:
            yield Event(refusal.reason, refusal.sentence, "Warning")


async def _tried(doing: Awaitable[None], failed: list[Exception]) -> None:
    """Wait for an effect; adds its failure to `failed`."""
    try:
        await doing
    except NamespaceEnding:
        raise
    except (OperatorError, KinemaApiError, OSError) as error:
        failed.append(error)


def _guarded(obj: KubeObject) -> bool:
    """Whether the object has our finalizer, so that files are deleted first."""
    return names.FINALIZER in (obj["metadata"].get("finalizers") or ())

"""One look at one resource: observe, plan, and carry the plan out, writing only what is not so already.

Level-based: nothing here depends on which event led to it, and nothing is remembered that a restart would lose but
for savings, which a restart merely spends once more (when progress was last written, which Secrets were right, which
objects were refused a moment ago).

One object that the API server refuses stops nothing else: it is told in the condition Refused and tried again with a
backoff of its own.
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
"""Fields of a status that merely move along; a change of nothing else may wait for the progress interval."""
WORDS = frozenset({"conditions", "credentialsExpire"})
"""Fields that may wait where a plan says so (Plan.words_may_wait)."""
BUSY_DEPTH = 16
"""Resources that wait for a look, from which on words let them pass."""
BUSY_INTERVALS = 6
"""For so many progress intervals at most."""
DONE = "Succeeded"
"""Phase that is not entered while an object of the same plan is refused: nobody would make it later."""

STAND_BACK_SECONDS = 15.0
"""How often it is looked whether another install's claim on a namespace has run out."""

_Write = tuple[KubeObject | None, str, Awaitable[Any]]
"""What is sent (None: a patch or a deletion), its kind and name, and the request."""


def utc_now() -> datetime:
    """The time that plans are told, in whole seconds as in Kubernetes' own timestamps."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Remembered:
    """What saves requests about one resource; losing it costs no more than they do."""

    progress_written: float = float("-inf")
    words_since: float | None = None
    """Since when conditions would be told in other words than the status has."""
    trust: Trust = field(default_factory=Trust)
    refusals: Refusals = field(default_factory=Refusals)


class Reconciler:
    """Carries out what the controllers decide."""

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
        """Namespaces that are being deleted, with the uids of the resources that they held when that was seen."""

    async def reconcile(self, key: Key) -> float | None:
        """Bring one resource one step further; seconds after which to look again, or None.

        Raises:
            Exception: whatever went wrong; the key is to be tried again with backoff.
        """
        obj = self._cache.get(key.kind, key.namespace, key.name)
        if obj is None or (obj["metadata"].get("deletionTimestamp") and not _guarded(obj)):
            # Owner references take the rest with them; an object on its way out gets nothing new.
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
        # What runs already lives on these, so nothing that is refused may come before them.
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
        """Deletions, then objects and patches; what is refused is remembered, what went wrong otherwise is in `failed`.

        Raises:
            NamespaceEnding: nothing may be made in this namespace any more.
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
        """Send all at once and wait for all, also if one fails: no write may outlive the turn of its key."""
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
        """Write the status and post the events; seconds after which to look again."""
        owned, again_after = await self._owned.findings(obj)
        findings = Findings((*remembered.refusals.current, *owned.refusals), owned.trouble)
        # Nobody would make the refused object once the resource is done, so until then it is not.
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
        # Made since: there is a new namespace of that name.
        del self._ending[metadata["namespace"]]
        return False

    def _uids(self, namespace: str) -> frozenset[str]:
        return frozenset(
            str(obj["metadata"]["uid"]) for kind in self._controllers for obj in self._cache.list(kind, namespace)
        )

    async def _let_go(self, obj: KubeObject) -> None:
        """Delete the Jobs of `obj`, whose namespace is being deleted.

        Namespaces lose their pods before anything else (KEP-5080), and a Job with a backoff per index keeps the
        finalizer of a failed pod until it has made another one: which it never may, so that neither would ever go.
        """
        for job in self._cache.list("Job", obj["metadata"]["namespace"]):
            if controller_uid(job) == obj["metadata"]["uid"] and not job["metadata"].get("deletionTimestamp"):
                await self._client.delete(ref_to(job))

    async def _write_status(
        self, remembered: Remembered, obj: KubeObject, status: Mapping[str, Any], *, words_may_wait: bool
    ) -> float | None:
        """Write what differs; seconds to wait if the difference is mere progress and it is too early for that."""
        before: Mapping[str, Any] = obj.get("status") or {}
        difference = merge_patch(before, status)
        if not difference:
            return None
        mute = words_may_wait and _differ_in_words(before, status)
        if mute and difference.keys() <= WORDS:
            # Counted from the first of them: what is said in between is out of date before anybody reads it.
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
        """How long words may wait: while many resources begin at once, their objects come first."""
        return self._interval * (BUSY_INTERVALS if self._queue.depth >= BUSY_DEPTH else 1)


def _differ_in_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether the conditions of two statuses say the same, for other reasons or in other words."""

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
    """News of what is refused now and was not, or for another reason."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    before = next((str(c.get("message")) for c in conditions if c.get("type") == REFUSED), "")
    for refusal in refusals:
        if refusal.what not in before:
            yield Event(refusal.reason, refusal.sentence, "Warning")


async def _tried(doing: Awaitable[None], failed: list[Exception]) -> None:
    """Wait for an effect; what goes wrong with it stops nothing else."""
    try:
        await doing
    except NamespaceEnding:
        raise
    except (OperatorError, KinemaApiError, OSError) as error:
        failed.append(error)


def _guarded(obj: KubeObject) -> bool:
    """Whether something outside the cluster is cleaned before the object goes."""
    return names.FINALIZER in (obj["metadata"].get("finalizers") or ())

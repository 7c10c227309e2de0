"""Problems of a resource's Jobs, Deployments and pods: pods that the API server refuses, and pods that cannot run.

Refused pods of a Job are reported only by events (it has no condition for them), so the events are read when a Job has
had too few pods for a while. A Deployment has the condition ReplicaFailure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from kinema_api import generation, names, serving, training
from kinema_operator.core.errors import ApiError, NotLeading
from kinema_operator.core.kstatus import Findings, Refusal, trouble_of
from kinema_operator.core.plan import Key, KubeObject
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.shell.writer import controller_uid

LACKING_SECONDS: Final = 10.0
"""Time for which a Job may lack pods before its events are read, and interval of further reads."""
FAILED_CREATE: Final = "FailedCreate"
PODS_REFUSED: Final = "PodsRefused"
_LABELS: Final = {training.KIND: names.LABEL_TRAINING, serving.KIND: names.LABEL_MODEL}


class EventReader(Protocol):
    """The part of the API client that is needed here."""

    async def list_all(
        self, kind: str, namespace: str | None = None, selector: str | None = None, fields: str | None = None
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects of a kind that match, and a resourceVersion."""


@dataclass
class _Lack:
    """A Job that has fewer pods than it should."""

    since: float
    """When that was first seen, or when events were last read."""
    said: Refusal | None = None


@dataclass
class _PodEvents:
    """Messages about refused pods in the events of a namespace, and when they were read."""

    at: float = float("-inf")
    messages: Mapping[str, str] = field(default_factory=dict)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Owned:
    """Observes the objects of a resource. Its memory only saves requests and is dropped when no Job lacks pods."""

    def __init__(self, cache: ObjectCache, client: EventReader, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._client = client
        self._clock = clock
        self._lacking: dict[Key, dict[str, _Lack]] = {}
        """Jobs that lack pods, by the resource that owns them, then by uid."""
        self._events: dict[str, _PodEvents] = {}
        """Events by namespace, for namespaces in which a Job lacks pods."""

    async def findings(self, obj: KubeObject) -> tuple[Findings, float | None]:
        """Problems of the objects of `obj`, and seconds after which to reconcile again."""
        kind, metadata = obj["kind"], obj["metadata"]
        if kind == generation.KIND:
            return Findings(), None
        labels = {_LABELS[kind]: metadata["name"]}
        jobs = [j for j in self._cache.list("Job", metadata["namespace"], labels) if _owned(j, obj)]
        deployments = self._cache.list("Deployment", metadata["namespace"], labels)
        pods = list(self._cache.list("Pod", metadata["namespace"], labels))
        lacking = [job for job in jobs if _lacks_pods(job, pods)]
        key = Key(kind, metadata["namespace"], metadata["name"])
        known, at = self._lacking.get(key, {}), self._clock()
        lacks = {job["metadata"]["uid"]: known.get(job["metadata"]["uid"]) or _Lack(at) for job in lacking}
        self._keep(key, lacks)
        refusals = [r for job in lacking if (r := await self._refusal(job, lacks[job["metadata"]["uid"]]))]
        refusals += [r for d in deployments if _owned(d, obj) and (r := _replica_failure(d))]
        return Findings(tuple(refusals), trouble_of(pods)), LACKING_SECONDS if lacking else None

    def forget(self, key: Key) -> None:
        """Forget a deleted resource."""
        self._keep(key, {})

    def _keep(self, key: Key, lacks: dict[str, _Lack]) -> None:
        if lacks:
            self._lacking[key] = lacks
        elif self._lacking.pop(key, None) and all(other.namespace != key.namespace for other in self._lacking):
            self._events.pop(key.namespace, None)

    async def _refusal(self, job: KubeObject, lack: _Lack) -> Refusal | None:
        metadata, at = job["metadata"], self._clock()
        if at - lack.since >= LACKING_SECONDS:
            lack.since = at
            message = (await self._refused_pods(metadata["namespace"])).get(metadata["uid"])
            if message is not None:
                lack.said = Refusal(f"Job {metadata['name']}", PODS_REFUSED, message)
        return lack.said

    async def _refused_pods(self, namespace: str) -> Mapping[str, str]:
        """The last messages about refused pods, by the Job's UID.

        The API server reads all events of a namespace for each list, so one list serves all of its Jobs.
        """
        known = self._events.setdefault(namespace, _PodEvents())
        async with known.asking:
            if self._clock() - known.at < LACKING_SECONDS:
                return known.messages
            try:
                events, _ = await self._client.list_all("Event", namespace, None, f"reason={FAILED_CREATE}")
            except NotLeading:
                raise
            except ApiError:
                return known.messages
            known.at = self._clock()
            events.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
            known.messages = {str(e["involvedObject"].get("uid")): str(e.get("message") or "") for e in events}
            return known.messages


def _owned(child: KubeObject, obj: KubeObject) -> bool:
    return bool(controller_uid(child) == obj["metadata"]["uid"])


def _lacks_pods(job: KubeObject, pods: Iterable[KubeObject]) -> bool:
    spec, status = job.get("spec") or {}, job.get("status") or {}
    over = any(c.get("type") in ("Complete", "Failed", "SuccessCriteriaMet") for c in status.get("conditions") or ())
    if over or spec.get("suspend") or job["metadata"].get("deletionTimestamp"):
        return False
    there = sum(controller_uid(pod) == job["metadata"]["uid"] for pod in pods)
    return bool(there < int(spec.get("parallelism") or 1) - int(status.get("succeeded") or 0))


def _replica_failure(deployment: KubeObject) -> Refusal | None:
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            name = deployment["metadata"]["name"]
            return Refusal(f"Deployment {name}", PODS_REFUSED, str(condition.get("message") or ""))
    return None

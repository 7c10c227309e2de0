"""The plan of a VideoModel: its digest, its servers, and which requests can proceed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kinema_api import generation, names
from kinema_api.base import Condition, find_condition
from kinema_api.serving import ModelPhase, VideoModel, VideoModelStatus
from kinema_operator.core import egress, pods
from kinema_operator.core.conditions import PlanTime
from kinema_operator.core.plan import Apply, Event, Key, KubeObject, Patch, Plan, Ref
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.requests import Request, assign, idle_servers, request_queue
from kinema_operator.dispatch.server_pod import UNSCHEDULABLE, ServerPod, ServerProblem
from kinema_operator.serving.objects.deployment import server_deployment
from kinema_operator.serving.objects.network_policy import server_network_policy
from kinema_operator.serving.objects.service import server_service
from kinema_operator.serving.observed import Demand, Observed
from kinema_operator.serving.scaling import demand_for, desired_for_former, desired_replicas, protect_busy, shared

RESOLVED: Final = "Resolved"
AVAILABLE: Final = "Available"
ROLLED_OUT: Final = "RolledOut"
ROLL_OVER_SECONDS: Final = 60.0
"""Time for which the first server of a new digest may be unschedulable before servers of the former one are removed."""
FOLDER_SECONDS: Final = 60.0
"""Interval at which a folder is checked for another manifest."""
PROTECTION_SECONDS: Final = 0.5
"""Time between marking busy pods and removing others: the ReplicaSet controller must have seen the marks."""


@dataclass(frozen=True)
class Scale:
    """Current and desired servers of one digest."""

    digest: str
    current: int
    desired: int
    demand: Demand
    patches: tuple[Patch, ...] = ()

    @property
    def waits_for_protection(self) -> bool:
        """Whether servers would be removed now, but busy ones are not marked yet."""
        return 0 < self.desired < self.current and bool(self.patches)

    @property
    def replicas(self) -> int:
        """The Deployment's replicas after this plan."""
        return self.current if self.waits_for_protection else self.desired


def plan(model: VideoModel, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """The plan for the observation of `model`."""
    if model.metadata.deletion_timestamp:
        return Plan()
    digest = _digest(model, observed)
    former = _former(model, observed, digest, now)
    scales = _scales(model, observed, digest, former, now)
    status = _status(model, observed, digest, former, scales, now)
    applied = [Apply(server_network_policy(model, _endpoints(observed, settings), settings))] if scales else []
    for scale in scales:
        applied.append(Apply(_deployment(model, observed, status, scale, settings)))
        applied.append(Apply(server_service(model, scale.digest)))
    return Plan(
        apply=tuple(applied),
        patches=tuple(p for scale in scales if 0 < scale.desired < scale.current for p in scale.patches),
        delete=_superfluous(observed, scales),
        status=status,
        events=_events(model.status, status),
        requeue_after=_next_look(model, observed, status, scales, settings, now),
        wake=_whose_turn(model, observed, former or digest, scales),
    )


def _deployment(
    model: VideoModel, observed: Observed, status: VideoModelStatus, scale: Scale, settings: Settings
) -> KubeObject:
    scratch = pods.scratch_limit(settings, status.bytes or 0)
    if scale.digest != status.digest:
        # As it is: another template would replace servers that are busy with a former digest.
        short = names.short_digest(scale.digest)
        scratch = next(
            (each.scratch for each in observed.served if each.short_digest == short and each.scratch), scratch
        )
    return server_deployment(model, scale.digest, scale.replicas, settings, observed.order_key, scratch)


def _digest(model: VideoModel, observed: Observed) -> str | None:
    """The source's digest; while it has none, the digest that is served."""
    if observed.source.digest:
        return observed.source.digest
    source, before = model.spec.source, model.status
    if source.folder and source.folder != before.uri:
        return None
    return before.digest if source.digest in (None, before.digest) else None


def _former(model: VideoModel, observed: Observed, digest: str | None, now: datetime) -> str | None:
    """The digest that serves requests until the first server of the newest digest is ready.

    None if that server has been unschedulable for ROLL_OVER_SECONDS: then the former servers are removed first. None
    for folders, too: a request could not be ordered once its folder holds another model.
    """
    if model.spec.source.folder or model.status.given_folder:
        return None
    candidate = model.status.former or model.status.digest
    if digest is None or candidate in (None, digest) or _available(observed, digest):
        return None
    if _unschedulable_seconds(observed, digest, now) >= ROLL_OVER_SECONDS:
        return None
    return candidate if candidate and _available(observed, candidate) else None


def _of(observed: Observed, digest: str) -> list[ServerPod]:
    short = names.short_digest(digest)
    return [s for s in observed.servers if s.short_digest == short]


def _available(observed: Observed, digest: str | None) -> int:
    return sum(s.available for s in _of(observed, digest)) if digest else 0


def _trouble(observed: Observed, digest: str | None) -> ServerProblem | None:
    """Why no server of this digest is ready, although there should be one."""
    if digest is None or _available(observed, digest):
        return None
    return next((s.trouble for s in _of(observed, digest) if s.trouble is not None and not s.terminating), None)


def _unschedulable_seconds(observed: Observed, digest: str, now: datetime) -> float:
    trouble = _trouble(observed, digest)
    if trouble is None or trouble.reason != UNSCHEDULABLE or trouble.since is None:
        return 0.0
    return (now - trouble.since).total_seconds()


def _endpoints(observed: Observed, settings: Settings) -> list[str]:
    """Stores that servers must reach. Endpoints that are invalid or not allowed are left out."""
    wanted = {observed.default_endpoint, *(r.store_endpoint or "" for r in observed.requests if r.serves)}
    return sorted(e for e in wanted if e and egress.is_allowed(e, settings.store_endpoint, settings.allowed_stores))


def _scales(
    model: VideoModel, observed: Observed, digest: str | None, former: str | None, now: datetime
) -> tuple[Scale, ...]:
    serving, assigned = model.spec.serving, former or digest
    pinned = {r.digest for r in observed.requests if r.serves and r.digest}
    digests = sorted(pinned | {d for d in (digest, former) if d})
    idle = timedelta(seconds=serving.idle_seconds)
    demands = {d: demand_for(observed.requests, d, assigned, idle, now) for d in digests}
    warm = _idle_since(model, observed, now) + idle > now
    current = {d: _current(observed, d) for d in digests}
    needs = {
        d: desired_replicas(demands[d], current[d], warm, serving)
        if d == assigned
        else desired_for_former(demands[d], serving)
        for d in digests
    }
    desired = shared(needs, observed.requests, assigned, serving.max_replicas)
    if former is not None and digest is not None:
        # One server beyond maxReplicas, for the roll-out of the newest digest.
        desired[digest] = max(1, desired[digest])
    busy = frozenset(r.server_uid for r in observed.requests if r.assigned and r.server_uid)
    return tuple(Scale(d, current[d], desired[d], demands[d], protect_busy(_of(observed, d), busy)) for d in digests)


def _current(observed: Observed, digest: str) -> int:
    short = names.short_digest(digest)
    return next((s.replicas for s in observed.served if s.short_digest == short), 0)


def _active(observed: Observed) -> int:
    """Number of requests that run or are queued; held requests keep no server warm."""
    return sum(r.serves for r in observed.requests) + observed.beyond


def _last_active(model: VideoModel, observed: Observed, now: datetime) -> datetime | None:
    """Changes only with the first request and after the last one, to save writes in between."""
    before = model.status
    if _active(observed):
        return before.last_active_time or now
    return now if before.waiting else before.last_active_time


def _idle_since(model: VideoModel, observed: Observed, now: datetime) -> datetime:
    if _active(observed):
        return now
    return _last_active(model, observed, now) or model.metadata.creation_timestamp or now


def _status(
    model: VideoModel,
    observed: Observed,
    digest: str | None,
    former: str | None,
    scales: tuple[Scale, ...],
    now: datetime,
) -> VideoModelStatus:
    assigned = former or digest
    replicas = next((s.replicas for s in scales if s.digest == assigned), 0)
    ready = _available(observed, assigned)
    at = PlanTime(now, model.metadata.generation)
    source = observed.source
    kept = bool(digest and not source.digest)
    conditions = at.mark(
        model.status.conditions,
        RESOLVED,
        digest is not None,
        "KeptAsServed" if kept else source.reason,
        source.message,
    )
    trouble = _trouble(observed, assigned) if replicas else None
    conditions = at.mark(conditions, AVAILABLE, ready > 0, *_availability(digest, replicas, ready, trouble))
    conditions = _rolled_out(conditions, at, observed, digest, former)
    return VideoModelStatus(
        phase=_phase(digest, replicas, ready),
        observed_generation=model.metadata.generation,
        conditions=conditions,
        digest=digest,
        former=former,
        uri=(source.uri if source.digest else model.status.uri) if digest else None,
        bytes=(source.bytes if source.digest else model.status.bytes) if digest else None,
        card=(source.card if source.digest else model.status.card) if digest else None,
        replicas=replicas,
        ready_replicas=ready,
        waiting=_active(observed),
        last_active_time=_last_active(model, observed, now),
    )


def _rolled_out(
    conditions: tuple[Condition, ...], at: PlanTime, observed: Observed, digest: str | None, former: str | None
) -> tuple[Condition, ...]:
    """`conditions` with RolledOut during and after a roll-over."""
    trouble = _trouble(observed, digest)
    if former is not None:
        words = f"{former} is served until the first server of {digest} is ready"
        reason = trouble.reason if trouble else "FirstServerStarting"
        return at.mark(conditions, ROLLED_OUT, False, reason, f"{words}: {trouble.message}" if trouble else words)
    if digest is None or find_condition(conditions, ROLLED_OUT) is None:
        return conditions
    others = [s for s in observed.servers if s.short_digest != names.short_digest(digest) and not s.ended]
    if trouble is not None and trouble.reason == UNSCHEDULABLE and others:
        words = f"no node fits a server of {digest} beside those of the former digest, which end when idle"
        return at.mark(conditions, ROLLED_OUT, False, UNSCHEDULABLE, f"{words}: {trouble.message}")
    return at.mark(conditions, ROLLED_OUT, True, "ServesNewest", f"requests are served by {digest}")


def _phase(digest: str | None, replicas: int, ready: int) -> ModelPhase:
    if digest is None:
        return "Pending"
    if ready:
        return "Serving"
    return "Starting" if replicas else "ScaledToZero"


def _availability(digest: str | None, replicas: int, ready: int, trouble: ServerProblem | None) -> tuple[str, str]:
    if digest is None:
        return "NotResolved", "no model has been published yet"
    if ready:
        return "ServerReady", ""
    if trouble is not None:
        return trouble.reason, f"no server is ready: {trouble.message}"
    return ("ServersStarting", "no server is ready yet") if replicas else ("ScaledToZero", "no request is queued")


def _superfluous(observed: Observed, scales: tuple[Scale, ...]) -> tuple[Ref, ...]:
    """Deployments and Services of digests that are neither current nor requested."""
    wanted = {names.short_digest(s.digest) for s in scales}
    gone = [s for s in observed.served if s.short_digest not in wanted]
    return tuple(ref for served in gone for ref in (served.deployment, served.service) if ref is not None)


def _whose_turn(
    model: VideoModel, observed: Observed, digest: str | None, scales: tuple[Scale, ...]
) -> tuple[Key, ...]:
    """Requests that can proceed now: those that can be pinned, and those for which there is a server."""
    ready: Iterable[Request] = (r for r in observed.requests if digest and r.waiting and r.digest is None)
    wake = {r.name for r in ready}
    for scale in scales:
        short = names.short_digest(scale.digest)
        servers = [s for s in observed.servers if s.short_digest == short]
        line = request_queue(observed.requests, scale.digest, digest)
        wake |= assign(line, idle_servers(servers, observed.requests)).keys()
    # A request whose server is being removed gets another one at once.
    serving = {s.uid for s in observed.servers if not (s.terminating or s.ended or s.disrupted)}
    wake |= {r.name for r in observed.requests if r.assigned and r.server_uid not in serving}
    return tuple(Key(generation.KIND, model.metadata.namespace, name) for name in sorted(wake))


def _events(before: VideoModelStatus, after: VideoModelStatus) -> tuple[Event, ...]:
    events = []
    if after.digest and after.digest != before.digest:
        events.append(Event("Resolved", f"{after.digest} is now served"))
    if after.replicas != before.replicas:
        events.append(Event("Scaled", f"from {before.replicas} to {after.replicas} servers"))
    return tuple(events)


def _next_look(
    model: VideoModel,
    observed: Observed,
    status: VideoModelStatus,
    scales: tuple[Scale, ...],
    settings: Settings,
    now: datetime,
) -> float | None:
    times = [PROTECTION_SECONDS for scale in scales if scale.waits_for_protection]
    if status.former is not None and status.digest is not None:
        times.append(max(1.0, ROLL_OVER_SECONDS - _unschedulable_seconds(observed, status.digest, now)))
    if status.digest is None:
        times.append(settings.store_probe_seconds)
    elif model.spec.source.folder:
        times.append(FOLDER_SECONDS)
    idle = timedelta(seconds=model.spec.serving.idle_seconds)
    ends = [s.demand.cools_at for s in scales if s.demand.cools_at and s.replicas > model.spec.serving.min_replicas]
    if status.replicas > model.spec.serving.min_replicas and not status.waiting and status.last_active_time:
        ends.append(status.last_active_time + idle)
    times += [(end - now).total_seconds() for end in ends if end > now]
    return min(times, default=None)

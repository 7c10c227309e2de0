"""What must be so for a VideoModel: its digest, its servers, and whose turn it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kinema_api import generation, names
from kinema_api.serving import ModelPhase, VideoModel, VideoModelStatus
from kinema_operator.conditions import Moment
from kinema_operator.generation.queue import Request, assign, idle_servers, waiting_line
from kinema_operator.plan import Apply, Event, Key, Patch, Plan, Ref
from kinema_operator.serving.deployment import server_deployment
from kinema_operator.serving.network_policy import server_network_policy
from kinema_operator.serving.observed import Demand, Observed
from kinema_operator.serving.scaling import demand_for, desired_for_former, desired_replicas, protect_busy
from kinema_operator.serving.service import server_service
from kinema_operator.settings import Settings

RESOLVED: Final = "Resolved"
AVAILABLE: Final = "Available"
PROTECTION_SECONDS: Final = 0.5
"""Between marking busy pods and removing others: the ReplicaSet controller must have seen the marks."""


@dataclass(frozen=True)
class Scale:
    """How many servers one digest has and should have."""

    digest: str
    current: int
    desired: int
    demand: Demand
    patches: tuple[Patch, ...] = ()

    @property
    def waits_for_protection(self) -> bool:
        """Whether servers would go now, but busy ones are not marked yet."""
        return 0 < self.desired < self.current and bool(self.patches)

    @property
    def replicas(self) -> int:
        """What the Deployment says after this plan."""
        return self.current if self.waits_for_protection else self.desired


def plan(model: VideoModel, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """Everything that one look at `model` does."""
    if model.metadata.deletion_timestamp:
        return Plan()
    digest = _digest(model, observed)
    scales = _scales(model, observed, digest, now)
    status = _status(model, observed, digest, scales, now)
    endpoints = {observed.default_endpoint, *(r.store_endpoint for r in observed.requests if r.active)}
    applied = [Apply(server_network_policy(model, (e for e in endpoints if e), settings))] if scales else []
    for scale in scales:
        applied.append(Apply(server_deployment(model, scale.digest, scale.replicas, settings)))
        applied.append(Apply(server_service(model, scale.digest)))
    return Plan(
        apply=tuple(applied),
        patches=tuple(p for scale in scales if 0 < scale.desired < scale.current for p in scale.patches),
        delete=_superfluous(observed, scales),
        status=status,
        events=_events(model.status, status),
        requeue_after=_next_look(model, status, scales, settings, now),
        wake=_whose_turn(model, observed, digest, scales),
    )


def _digest(model: VideoModel, observed: Observed) -> str | None:
    """A digest once served stays while its source is silent, unless the source names another one outright."""
    if observed.source.digest:
        return observed.source.digest
    wanted = model.spec.source.digest
    return model.status.digest if wanted in (None, model.status.digest) else None


def _scales(model: VideoModel, observed: Observed, digest: str | None, now: datetime) -> tuple[Scale, ...]:
    pinned = {r.digest for r in observed.requests if r.active and r.digest}
    digests = sorted(pinned | ({digest} if digest else set()))
    return tuple(_scale(model, observed, wanted, digest, now) for wanted in digests)


def _scale(model: VideoModel, observed: Observed, wanted: str, digest: str | None, now: datetime) -> Scale:
    serving = model.spec.serving
    idle = timedelta(seconds=serving.idle_seconds)
    demand = demand_for(observed.requests, wanted, digest, idle, now)
    short = names.short_digest(wanted)
    current = next((s.replicas for s in observed.served if s.short_digest == short), 0)
    if wanted == digest:
        warm = _idle_since(model, observed, now) + idle > now
        desired = desired_replicas(demand, current, warm, serving)
    else:
        desired = desired_for_former(demand, serving)
    busy = frozenset(r.server_uid for r in observed.requests if r.assigned and r.server_uid)
    servers = [s for s in observed.servers if s.short_digest == short]
    return Scale(wanted, current, desired, demand, protect_busy(servers, busy))


def _active(observed: Observed) -> int:
    return sum(r.active for r in observed.requests)


def _last_active(model: VideoModel, observed: Observed, now: datetime) -> datetime | None:
    """Moves only when the first request comes and when the last one has gone, to save writes between."""
    before = model.status
    if _active(observed):
        return before.last_active_time or now
    return now if before.waiting else before.last_active_time


def _idle_since(model: VideoModel, observed: Observed, now: datetime) -> datetime:
    if _active(observed):
        return now
    return _last_active(model, observed, now) or model.metadata.creation_timestamp or now


def _status(
    model: VideoModel, observed: Observed, digest: str | None, scales: tuple[Scale, ...], now: datetime
) -> VideoModelStatus:
    replicas = next((s.replicas for s in scales if s.digest == digest), 0)
    short = names.short_digest(digest) if digest else ""
    ready = sum(s.available for s in observed.servers if s.short_digest == short)
    at = Moment(now, model.metadata.generation)
    source = observed.source
    kept = bool(digest and not source.digest)
    conditions = at.mark(
        model.status.conditions,
        RESOLVED,
        digest is not None,
        "KeptAsServed" if kept else source.reason,
        source.message,
    )
    conditions = at.mark(conditions, AVAILABLE, ready > 0, *_availability(digest, replicas, ready))
    return VideoModelStatus(
        phase=_phase(digest, replicas, ready),
        observed_generation=model.metadata.generation,
        conditions=conditions,
        digest=digest,
        uri=(source.uri if source.digest else model.status.uri) if digest else None,
        replicas=replicas,
        ready_replicas=ready,
        waiting=_active(observed),
        last_active_time=_last_active(model, observed, now),
    )


def _phase(digest: str | None, replicas: int, ready: int) -> ModelPhase:
    if digest is None:
        return "Pending"
    if ready:
        return "Serving"
    return "Starting" if replicas else "ScaledToZero"


def _availability(digest: str | None, replicas: int, ready: int) -> tuple[str, str]:
    if digest is None:
        return "NotResolved", "there is no model to serve yet"
    if ready:
        return "ServerReady", ""
    return ("ServersStarting", "no server is ready yet") if replicas else ("ScaledToZero", "no request waits")


def _superfluous(observed: Observed, scales: tuple[Scale, ...]) -> tuple[Ref, ...]:
    """Deployments and Services of digests that are neither current nor asked for any more."""
    wanted = {names.short_digest(s.digest) for s in scales}
    gone = [s for s in observed.served if s.short_digest not in wanted]
    return tuple(ref for served in gone for ref in (served.deployment, served.service) if ref is not None)


def _whose_turn(
    model: VideoModel, observed: Observed, digest: str | None, scales: tuple[Scale, ...]
) -> tuple[Key, ...]:
    """Requests that can take a step now: those that may be pinned, and those for which there is a server."""
    ready: Iterable[Request] = (r for r in observed.requests if digest and r.waiting and r.digest is None)
    wake = {r.name for r in ready}
    for scale in scales:
        short = names.short_digest(scale.digest)
        servers = [s for s in observed.servers if s.short_digest == short]
        line = waiting_line(observed.requests, scale.digest, digest)
        wake |= assign(line, idle_servers(servers, observed.requests)).keys()
    return tuple(Key(generation.KIND, model.metadata.namespace, name) for name in sorted(wake))


def _events(before: VideoModelStatus, after: VideoModelStatus) -> tuple[Event, ...]:
    events = []
    if after.digest and after.digest != before.digest:
        events.append(Event("Resolved", f"{after.digest} is served from now on"))
    if after.replicas != before.replicas:
        events.append(Event("Scaled", f"from {before.replicas} to {after.replicas} servers"))
    return tuple(events)


def _next_look(
    model: VideoModel, status: VideoModelStatus, scales: tuple[Scale, ...], settings: Settings, now: datetime
) -> float | None:
    times = [PROTECTION_SECONDS for scale in scales if scale.waits_for_protection]
    if status.digest is None:
        times.append(settings.store_probe_seconds)
    idle = timedelta(seconds=model.spec.serving.idle_seconds)
    ends = [s.demand.cools_at for s in scales if s.demand.cools_at and s.replicas > model.spec.serving.min_replicas]
    if status.replicas > model.spec.serving.min_replicas and not status.waiting and status.last_active_time:
        ends.append(status.last_active_time + idle)
    times += [(end - now).total_seconds() for end in ends if end > now]
    return min(times, default=None)

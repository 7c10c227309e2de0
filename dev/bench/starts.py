"""Figures of many trainings that start at once, from an audit log: waiting times and writes. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kinema_api.training import PLURAL

OWN_CHILDREN = ("jobs", "pods", "secrets")
"""Children of each training: the trainers' Job, the rendezvous pod, the Secret with storage keys."""
SHARED_CHILDREN = ("services", "networkpolicies")
"""Objects shared by all trainings of a namespace."""
WRITES = ("create", "update", "patch", "delete", "deletecollection")


def moment(text: str) -> float:
    """Seconds since the epoch of an audit timestamp."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def is_write(event: Mapping[str, Any], user: str) -> bool:
    """Whether a request is a write by this user, even one without effect; Leases excepted."""
    ref = event.get("objectRef") or {}
    return event["user"]["username"] == user and event["verb"] in WRITES and ref.get("resource") != "leases"


@dataclass
class Starts:
    """The trainings of one namespace, by name; times are seconds since the epoch."""

    born: dict[str, float] = field(default_factory=dict)
    jobs: dict[str, float] = field(default_factory=dict)
    children: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    shared: dict[str, float] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    """Successful writes of the operator, by verb and resource."""
    in_burst: Counter[str] = field(default_factory=Counter)
    """Those before the last training had its last child."""

    @property
    def last(self) -> float:
        """When the last training had its last child."""
        return max([max(made.values()) for made in self.children.values()] or [0.0])

    def to_job(self) -> list[float]:
        """For each training, seconds from its creation to that of its Job."""
        return [self.jobs[name] - born for name, born in self.born.items() if name in self.jobs]

    def to_children(self) -> list[float]:
        """For each training that has them all, seconds from its creation to the last thing that it needs."""
        shared = max(self.shared.values(), default=float("inf"))
        if len(self.shared) < len(SHARED_CHILDREN):
            return []
        return [
            max(shared, *self.children[name].values()) - born
            for name, born in self.born.items()
            if len(self.children.get(name, ())) == len(OWN_CHILDREN)
        ]

    def jobs_per_second(self) -> float:
        """Jobs, by the time from the first training's creation to the last Job's."""
        if not self.jobs or not self.born:
            return 0.0
        return len(self.jobs) / max(1e-3, max(self.jobs.values()) - min(self.born.values()))

    def each(self, *what: str, burst: bool = False) -> float:
        """Writes of these kinds for each training; `burst`: until all had their children."""
        counted = self.in_burst if burst else self.taken
        return sum(counted[one] for one in what) / max(1, len(self.born))

    def creations(self) -> float:
        """Objects made for each training, events aside."""
        made = [what for what in self.taken if what.startswith("create ") and what != "create events"]
        return self.each(*made)


def read(events: Iterable[Mapping[str, Any]], namespace: str, operator: str) -> Starts:
    """The starts in one namespace, from finished requests. No training's name may be a prefix of another's."""
    found = Starts()
    own: list[tuple[float, str]] = []
    for event in events:
        ref = event.get("objectRef") or {}
        if ref.get("namespace") != namespace or event["responseStatus"]["code"] not in (200, 201):
            continue
        name, resource, when = str(ref.get("name", "")), str(ref.get("resource")), moment(event["stageTimestamp"])
        if resource == PLURAL and event["verb"] == "create" and event["user"]["username"] != operator:
            found.born[name] = when
        if not is_write(event, operator):
            continue
        what = f"{event['verb']} {resource}" + (f"/{ref['subresource']}" if ref.get("subresource") else "")
        found.taken[what] += 1
        own.append((when, what))
        if event["verb"] != "create":
            continue
        if resource in SHARED_CHILDREN:
            found.shared.setdefault(resource, when)
        elif resource in OWN_CHILDREN:
            _child(found, resource, name, when)
    found.in_burst = Counter(what for when, what in own if when <= found.last)
    return found


def _child(found: Starts, resource: str, name: str, when: float) -> None:
    owner = "-".join(name.split("-")[:2])
    found.children[owner].setdefault(resource, when)
    if resource == "jobs":
        found.jobs.setdefault(owner, when)


def histogram_percentile(metrics: Mapping[str, float], name: str, percent: float) -> tuple[float, int]:
    """A percentile of a Prometheus histogram over all its labels, and of how many samples.

    The value is the upper bound of its bucket, so the true percentile is not above it.
    """
    buckets: Counter[float] = Counter()
    for key, value in metrics.items():
        if key.startswith(f"{name}_bucket{{"):
            bound = key.partition('le="')[2].partition('"')[0]
            buckets[float(bound.replace("+Inf", "inf"))] += int(value)
    count = buckets[float("inf")]
    wanted = -(-count * percent // 100)
    return min((bound for bound, below in buckets.items() if below >= wanted), default=0.0), count

"""The request queues of all models, updated incrementally: a reconcile with ten thousand requests costs no more than
one with ten.

Requests are ordered by creation time. The head of a queue, running requests, recently ended ones and the position of a
request are found without iterating over the queue.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final

from kinema_api.generation import KIND
from kinema_operator.core.controller import Cache
from kinema_operator.core.plan import KubeObject
from kinema_operator.dispatch.requests import Request, request

HEAD: Final = 128
"""Number of first and of last ended requests that determine the number of servers: more than a model may have."""

Place = tuple[str, str]
"""Creation time and name."""


@dataclass
class RequestQueue:
    """The requests of one model."""

    requests: dict[str, Request] = field(default_factory=dict)
    """Requests that have not ended, by name."""
    waiting: dict[str | None, list[Place]] = field(default_factory=dict)
    """Queued requests in order, by the digest that they are pinned to."""
    ended: list[tuple[datetime, str, Request]] = field(default_factory=list)
    """Ended requests, by time of completion."""
    running: dict[str, Request] = field(default_factory=dict)
    held: dict[str, Request] = field(default_factory=dict)

    def head(self, digest: str, current: str | None, count: int) -> tuple[Request, ...]:
        """The first requests queued for `digest`; requests without a digest count for the model's `current` one."""
        lines = [self.waiting.get(digest, ())]
        if digest == current:
            lines.append(self.waiting.get(None, ()))
        return tuple(self.requests[name] for _, name in islice(heapq.merge(*lines), count))

    def position(self, name: str, digest: str, current: str | None) -> int | None:
        """Number of requests ahead of `name`, or None if it is not queued."""
        found = self.requests.get(name)
        if found is None or not found.waiting or (found.digest or current) != digest:
            return None
        lines = {digest, None} if digest == current else {digest}
        place = (found.created, found.name)
        return sum(bisect.bisect_left(self.waiting.get(each, []), place) for each in lines)

    def deciding(self) -> tuple[Request, ...]:
        """The requests that determine the number of servers: see HEAD."""
        first = (self.requests[name] for line in self.waiting.values() for _, name in line[:HEAD])
        lately = (request for _, _, request in self.ended[-HEAD:])
        return (*self.running.values(), *islice(self.held.values(), HEAD), *first, *lately)

    @property
    def beyond(self) -> int:
        """Number of queued requests beyond `deciding`."""
        return sum(max(0, len(line) - HEAD) for line in self.waiting.values())

    def put(self, request: Request) -> None:
        """Add a request that is not in the queue yet."""
        if not request.active:
            if request.completed is not None:
                bisect.insort(self.ended, (request.completed, request.name, request), key=lambda e: e[:2])
            return
        self.requests[request.name] = request
        if request.waiting:
            bisect.insort(self.waiting.setdefault(request.digest, []), (request.created, request.name))
        elif request.assigned:
            self.running[request.name] = request
        else:
            self.held[request.name] = request

    def remove(self, request: Request) -> None:
        """Remove a request, which must equal the one that was added."""
        if not request.active:
            if request.completed is not None:
                _drop(self.ended, (request.completed, request.name))
            return
        self.requests.pop(request.name, None)
        self.running.pop(request.name, None)
        self.held.pop(request.name, None)
        line = self.waiting.get(request.digest)
        if request.waiting and line is not None:
            _drop(line, (request.created, request.name))
            if not line:
                del self.waiting[request.digest]


class RequestQueues:
    """The request queues of all models, built from VideoGenerations as JSON."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], Request] = {}
        self._models: dict[tuple[str, str], RequestQueue] = {}
        self._by_input: dict[tuple[str, str], dict[str, None]] = {}

    def put(self, obj: KubeObject) -> None:
        """Add an object or replace the one of the same name. An unreadable one is not queued."""
        self.remove(obj)
        try:
            read = request(obj)
        except (ValueError, TypeError, AttributeError, KeyError):
            return
        namespace = obj["metadata"]["namespace"]
        self._requests[(namespace, read.name)] = read
        self._models.setdefault((namespace, read.model), RequestQueue()).put(read)
        for name in read.input_generations:
            self._by_input.setdefault((namespace, name), {})[read.name] = None

    def remove(self, obj: KubeObject) -> None:
        """Remove the object of this name."""
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        known = self._requests.pop((namespace, name), None)
        if known is None:
            return
        line = self._models[(namespace, known.model)]
        line.remove(known)
        if not line.requests and not line.ended:
            del self._models[(namespace, known.model)]
        for source in known.input_generations:
            waiting = self._by_input.get((namespace, source), {})
            waiting.pop(name, None)
            if not waiting:
                self._by_input.pop((namespace, source), None)

    def of(self, namespace: str, model: str) -> RequestQueue:
        """The queue of a model; empty if it has no requests."""
        return self._models.get((namespace, model)) or RequestQueue()

    def waiting_for(self, namespace: str, name: str) -> list[str]:
        """Pending requests with the clip of the request `name` as an input."""
        return list(self._by_input.get((namespace, name), ()))


def queues_of(cache: Cache, namespace: str) -> RequestQueues:
    """The queues that the cache maintains, or else new ones built from its objects."""
    view: Any = getattr(cache, "view", None)
    if view is not None:
        kept: RequestQueues = view(KIND, RequestQueues)
        return kept
    return _filled(cache.list(KIND, namespace))


def _filled(objects: Iterable[KubeObject]) -> RequestQueues:
    lines = RequestQueues()
    for obj in objects:
        lines.put(obj)
    return lines


def _drop(ordered: list[Any], place: tuple[Any, ...]) -> None:
    at = bisect.bisect_left(ordered, place, key=lambda each: each[:2])
    if at < len(ordered) and ordered[at][:2] == place:
        del ordered[at]

"""What happens next to a VideoGeneration. Pure.

Two writes order everything. An attempt is in status before its server hears of it, so two operators never have two
servers work on the same attempt; and the delivery is in status before anything is copied, so whoever carries the
commit out, and however often, copies the same verified bytes, and no other attempt is ever committed beside it.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from kinema_api import layout
from kinema_api.base import find_condition
from kinema_api.generation import VideoGeneration
from kinema_api.wire import OrderState
from kinema_operator.conditions import Moment
from kinema_operator.generation import transitions as to
from kinema_operator.generation.observed import ORDERED_FILES, CancelOrder, Commit, Observed, SendOrder, Silent
from kinema_operator.generation.queue import ASSIGNED, TERMINAL
from kinema_operator.generation.transitions import Status
from kinema_operator.plan import Event, Plan, Ref
from kinema_operator.settings import Settings

ENDED_ORDER: Final = frozenset({"succeeded", "failed", "cancelled"})
FARTHEST_LOOK_SECONDS: Final = 60.0
"""How long at most a request far back in the line shows an old position."""
PLACES_PER_INTERVAL: Final = 4
"""A request this many places further back looks one progress interval later: short lines stay exact."""


def plan(generation: VideoGeneration, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """Everything that one look at `generation` does."""
    if generation.metadata.deletion_timestamp:
        return Plan()
    if generation.status.phase == "Succeeded":
        return _keep_addresses(generation.status, observed, settings, now)
    if generation.status.phase in TERMINAL:
        return Plan()
    return _Step(generation, observed, settings, Moment(now, generation.metadata.generation)).decide()


def _keep_addresses(status: Status, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """An address for people lives for a week at most; as long as the resource exists it is signed anew in time."""
    if observed.addresses:
        return Plan(status=to.signed_again(status, observed.addresses), requeue_after=settings.public_url_seconds / 2)
    wait = to.renewal_wait(status, settings, now)
    if math.isinf(wait):
        return Plan()
    return Plan(requeue_after=wait if wait > 0 else settings.store_probe_seconds)


class _Step:
    """One decision; holds what every part of it asks about."""

    def __init__(self, generation: VideoGeneration, observed: Observed, settings: Settings, at: Moment) -> None:
        self.generation = generation
        self.observed = observed
        self.settings = settings
        self.at = at
        self.status: Status = to.change(generation.status, observed_generation=at.generation)

    def decide(self) -> Plan:
        if self.status.delivery is not None:
            return self._commit()
        if self.generation.spec.cancel:
            return self._stop(to.cancelled(self.status, self.at), Event("Cancelled", "spec.cancel was set"))
        if self._deadline() <= self.at.now and not self._order_succeeded():
            return self._stop(*self._failure("DeadlineExceeded", self._deadline_sentence()))
        if self.status.phase in ASSIGNED:
            return self._follow()
        return self._wait()

    # Waiting for a model and a server

    def _wait(self) -> Plan:
        observed = self.observed
        if observed.model is None:
            name = self.generation.spec.model_ref.name
            return self._not_yet("ModelNotFound", f"VideoModel {name!r} does not exist; apply it or correct modelRef")
        digest = self.status.model_digest or observed.model.digest
        if digest is None:
            return self._not_yet("ModelNotReady", observed.model.message)
        if observed.problem is not None and observed.problem.fatal:
            return self._fail(observed.problem.reason, observed.problem.message)
        if observed.problem is not None:
            return self._not_yet(observed.problem.reason, observed.problem.message)
        self.status = to.accepted(self.generation, self.status, self.at, digest)
        if observed.turn is not None and not self._backing_off():
            return self._take_turn()
        return self._queue()

    def _take_turn(self) -> Plan:
        turn = self.observed.turn
        assert turn is not None
        if turn.in_hand is not None and turn.in_hand != self.generation.metadata.uid:
            queued = self._queue()
            stop = CancelOrder(turn.server, turn.in_hand)
            return Plan(status=queued.status, effects=(stop,), requeue_after=self.settings.generation_poll_seconds)
        status = to.scheduled(self.status, self.at, turn.server)
        event = Event("Scheduled", f"attempt {status.attempt} is given to {turn.server.name}")
        return Plan(status=status, events=(event,), requeue_after=self.settings.generation_poll_seconds)

    def _queue(self) -> Plan:
        if self.observed.servers:
            reason, message = "Queued", "waits for a server to be free"
        else:
            reason, message = "ServerStarting", "waits for a server to start"
        status = to.queued(self.status, self.at, self.observed.position, reason, message)
        return Plan(status=status, requeue_after=self._until_deadline(self._next_look()))

    def _not_yet(self, reason: str, message: str) -> Plan:
        if self.status.model_digest is None:
            status = to.not_accepted(self.status, self.at, reason, message)
        else:
            status = to.unscheduled(self.status, self.at, reason, message)
        return Plan(status=status, requeue_after=self._until_deadline(self.settings.store_probe_seconds))

    # Following an attempt

    def _follow(self) -> Plan:
        observed, refusal = self.observed, self.observed.refusal
        if observed.server is None or observed.server.ended:
            return self._retry(f"server {self.status.server} is gone")
        if refusal is not None and refusal.kind == "never":
            return self._fail("Refused", refusal.message)
        if refusal is not None and refusal.kind == "busy":
            status = to.unscheduled(self.status, self.at, "ServerBusy", refusal.message)
            return Plan(status=status, requeue_after=self.settings.generation_poll_seconds)
        if refusal is not None:
            return self._retry(refusal.message)
        if isinstance(observed.answer, Silent):
            return self._silent(observed.answer.message)
        if isinstance(observed.answer, OrderState) and observed.answer.attempt == self.status.attempt:
            return self._answered(observed.answer)
        if isinstance(observed.answer, OrderState) and observed.answer.attempt > self.status.attempt:
            return self._retry(f"server {self.status.server} has already been given a later attempt")
        if observed.server.terminating:
            return self._retry(f"server {self.status.server} was stopped")
        if self.status.phase == "Running":
            return self._retry(f"server {self.status.server} was restarted and has forgotten the request")
        return self._send()

    def _send(self) -> Plan:
        server, status = self.observed.server, to.heard(self.status, self.at)
        assert server is not None
        assert status.model_digest is not None
        assert status.seed is not None
        order = SendOrder(server, status.attempt, status.model_digest, status.seed)
        return self._poll(status, order)

    def _silent(self, message: str) -> Plan:
        server = self.observed.server
        assert server is not None
        status = to.silent(self.status, self.at, message)
        since = to.silent_since(status) or self.at.now
        if server.terminating:
            return self._retry(f"server {server.name} was stopped")
        if (self.at.now - since).total_seconds() < self.settings.server_silent_seconds:
            return self._poll(status)
        # With no other server ready, only a new pod can serve; the Deployment makes one in its place.
        delete: tuple[Ref, ...] = () if self.observed.servers > int(server.available) else (server.ref,)
        return self._retry(f"server {server.name} has fallen silent: {message}", delete)

    def _answered(self, state: OrderState) -> Plan:
        if state.phase == "succeeded":
            return self._delivered(state)
        if state.phase == "failed" and not state.retriable:
            return self._fail("RenderingFailed", state.error or "the server gave no reason")
        if state.phase in ("failed", "cancelled"):
            return self._retry(state.error or f"server {self.status.server} has {state.phase} the request")
        return self._poll(to.running(self.generation, self.status, self.at, state))

    def _delivered(self, state: OrderState) -> Plan:
        inspection, problem = self.observed.inspection, self.observed.problem
        named = [file.name for file in state.result.files] if state.result else []
        if state.result is None or layout.VIDEO not in named or not _as_ordered(named):
            return self._retry(f"server {self.status.server} says that it is done and names other files than ordered")
        if inspection is None:
            return self._poll(self._store_problem(), after=self.settings.store_probe_seconds if problem else None)
        if inspection.broken is not None:
            return self._retry(inspection.broken)
        status = to.delivered(self.generation, self.status, self.at, state.result)
        return self._poll(status, *(Commit((copy,)) for copy in inspection.copies), after=0.0)

    # Ending

    def _commit(self) -> Plan:
        inspection, delivery = self.observed.inspection, self.status.delivery
        assert delivery is not None
        if inspection is None:
            return self._poll(self._store_problem(), after=self.settings.store_probe_seconds)
        if inspection.committed:
            status = to.succeeded(self.status, self.at, delivery, inspection.committed)
            assert status.video is not None
            return Plan(status=status, events=(Event("Succeeded", f"the clip is {status.video.uri}"),))
        if inspection.broken is not None:
            return self._retry(inspection.broken)
        return self._poll(self.status, *(Commit((copy,)) for copy in inspection.copies), after=0.0)

    def _stop(self, ended: Status, event: Event) -> Plan:
        """Ends only once the server has let go, so that it is free for the next request when this one says so."""
        answer, server = self.observed.answer, self.observed.server
        if server is not None and isinstance(answer, OrderState) and answer.phase not in ENDED_ORDER:
            return self._poll(self.status, CancelOrder(server, self.generation.metadata.uid))
        return Plan(status=ended, events=(event,))

    def _retry(self, message: str, delete: tuple[Ref, ...] = ()) -> Plan:
        status = to.retrying(self.status, self.at, f"attempt {self.status.attempt}: {message}")
        if status.failures >= self.settings.generation_attempts:
            ended, event = self._failure(
                "AttemptsExhausted", f"{status.failures} attempts failed, the last one because {message}"
            )
            return Plan(status=to.change(ended, failures=status.failures), events=(event,), delete=delete)
        event = Event(to.RETRYING, f"attempt {status.attempt} failed: {message}", "Warning")
        return Plan(status=status, events=(event,), delete=delete, requeue_after=self._backoff(status.failures))

    def _fail(self, reason: str, message: str) -> Plan:
        status, event = self._failure(reason, message)
        return Plan(status=status, events=(event,))

    def _failure(self, reason: str, message: str) -> tuple[Status, Event]:
        return to.failed(self.status, self.at, reason, message), Event("Failed", message, "Warning")

    # Times

    def _poll(self, status: Status, *effects: SendOrder | CancelOrder | Commit, after: float | None = None) -> Plan:
        wait = self.settings.generation_poll_seconds if after is None else after
        return Plan(status=status, effects=effects, requeue_after=wait)

    def _store_problem(self) -> Status:
        problem = self.observed.problem
        if problem is None:
            return self.status
        return to.waits_for_store(self.status, self.at, problem.reason, problem.message)

    def _order_succeeded(self) -> bool:
        answer = self.observed.answer
        return isinstance(answer, OrderState) and answer.phase == "succeeded" and answer.attempt == self.status.attempt

    def _deadline(self) -> datetime:
        created = self.generation.metadata.creation_timestamp or self.at.now
        return created + timedelta(seconds=self.generation.spec.deadline_seconds)

    def _deadline_sentence(self) -> str:
        seconds = self.generation.spec.deadline_seconds
        return f"not done within deadlineSeconds ({seconds}); create another VideoGeneration with a later deadline"

    def _until_deadline(self, wait: float) -> float:
        return max(0.0, min(wait, (self._deadline() - self.at.now).total_seconds()))

    def _next_look(self) -> float:
        interval = self.settings.progress_interval_seconds
        if self._backing_off():
            return self.settings.generation_poll_seconds
        return min(FARTHEST_LOOK_SECONDS, interval * (1 + (self.observed.position or 0) // PLACES_PER_INTERVAL))

    def _backoff(self, failures: int) -> float:
        longest = self.settings.retry_backoff_seconds
        return min(longest, float(self.settings.backoff_initial_seconds * 2**failures))

    def _backing_off(self) -> bool:
        found = find_condition(self.status.conditions, "Scheduled")
        if found is None or found.status == "True" or found.reason != to.RETRYING:
            return False
        return found.last_transition_time + timedelta(seconds=self._backoff(self.status.failures)) > self.at.now


def _as_ordered(named: list[str]) -> bool:
    """Whether a server names nothing but what it was asked for: names become keys, and a server may be taken over."""
    return len(named) == len(set(named)) and set(named) <= set(ORDERED_FILES)

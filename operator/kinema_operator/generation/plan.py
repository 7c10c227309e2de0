"""The plan of a VideoGeneration. Pure.

An attempt is written into the status before its server gets the order, so two operators never send the same attempt to
two servers. The delivery is written into the status before anything is copied, so every repetition of the commit copies
the same verified bytes, and no other attempt is committed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from kinema_api import layout
from kinema_api.base import find_condition
from kinema_api.generation import VideoGeneration
from kinema_api.wire import OrderState
from kinema_operator.core.conditions import PlanTime
from kinema_operator.core.plan import Event, Plan, Ref
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.requests import ASSIGNED, TERMINAL
from kinema_operator.dispatch.server_pod import ServerPod
from kinema_operator.generation import transitions as to
from kinema_operator.generation.effects import CancelOrder, Clean, Commit, Record, SendOrder
from kinema_operator.generation.ended import Ended
from kinema_operator.generation.observed import ORDERED_FILES, NoResponse, Observed, OrderRefusal, Problem, Unreadable
from kinema_operator.generation.transitions import Status

ENDED_ORDER: Final = frozenset({"succeeded", "failed", "cancelled"})
LONGEST_PAUSE_SECONDS: Final = 30.0
"""Least time limit for a step, and for stopping."""
STALL_STEPS: Final = 20.0
"""A server is stuck without a step for this many of its longest steps."""
STOP_STEPS: Final = 3.0
"""A server must stop within this many of its longest steps."""
FARTHEST_LOOK_SECONDS: Final = 60.0
"""Longest reconcile interval of a queued request, so the greatest age of its queuePosition."""
PLACES_PER_INTERVAL: Final = 4
"""The reconcile interval grows by one progress interval per this many positions, so short queues stay exact."""


def plan(generation: VideoGeneration, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """The plan for the observation of `generation`."""
    if generation.metadata.deletion_timestamp:
        return Plan()
    if generation.status.phase in TERMINAL:
        return Ended(generation, observed, settings, now).decide()
    return _Step(generation, observed, settings, PlanTime(now, generation.metadata.generation)).decide()


def broken_off(observed: Observed, words: str) -> Observed:
    """An observation with which only cancel and the deadline take effect."""
    server = observed.server
    return Observed(observed.model, server=server, problem=Problem("PlanFailed", words), answer=NoResponse(words))


class _Step:
    """One planning step and its input."""

    def __init__(self, generation: VideoGeneration, observed: Observed, settings: Settings, at: PlanTime) -> None:
        self.generation = generation
        self.observed = observed
        self.settings = settings
        self.at = at
        self.status: Status = to.change(generation.status, observed_generation=at.generation)

    def decide(self) -> Plan:
        if self.status.delivery is not None and not self._commit_is_hopeless():
            return self._commit()
        if self.generation.spec.cancel:
            return self._stop(to.cancelled(self.status, self.at), Event("Cancelled", "spec.cancel is true"))
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
        if observed.restored is not None and self.status.attempt == 0:
            event = Event("Restored", "the clip was rendered and committed before this status was lost")
            return Plan(status=observed.restored.restored(self.status), events=(event,), requeue_after=0.0)
        if observed.problem is not None and observed.problem.fatal:
            return self._fail(observed.problem.reason, observed.problem.message)
        if observed.problem is not None:
            return self._not_yet(observed.problem.reason, observed.problem.message)
        self.status = to.accepted(self.generation, self.status, self.at, digest, observed.model, observed.inputs)
        if observed.assigned is not None and not self._backing_off():
            return self._schedule()
        return self._queue()

    def _schedule(self) -> Plan:
        assigned = self.observed.assigned
        assert assigned is not None
        if assigned.in_hand is not None and assigned.in_hand != self.generation.metadata.uid:
            queued, poll = self._queue(), self.settings.generation_poll_seconds
            if assigned.stopping_seconds >= self.settings.server_unmeasured_seconds:
                return Plan(status=queued.status, delete=(assigned.server.ref,), requeue_after=poll)
            stop = CancelOrder(assigned.server, assigned.in_hand)
            return Plan(status=queued.status, effects=(stop,), requeue_after=poll)
        status = to.scheduled(self.status, self.at, assigned.server)
        event = Event("Scheduled", f"attempt {status.attempt} is assigned to {assigned.server.name}")
        return Plan(status=status, events=(event,), requeue_after=self.settings.generation_poll_seconds)

    def _queue(self) -> Plan:
        trouble = self.observed.trouble
        if self.observed.servers:
            reason, message = "Queued", "is queued: all servers are busy"
        elif trouble is not None:
            reason, message = trouble.reason, f"is queued: no server has started: {trouble.message}"
        else:
            reason, message = "ServerStarting", "is queued: a server is starting"
        status = to.queued(self.status, self.at, self.observed.position, reason, message)
        return Plan(status=status, requeue_after=self._until_deadline(self._next_look()))

    def _not_yet(self, reason: str, message: str) -> Plan:
        if self.status.model_digest is None:
            status = to.not_accepted(self.status, self.at, reason, message)
        else:
            status = to.unscheduled(self.status, self.at, reason, message)
        return Plan(status=status, requeue_after=self._until_deadline(self.settings.store_probe_seconds))

    # During an attempt

    def _follow(self) -> Plan:
        observed, answer = self.observed, self.observed.answer
        server = observed.server
        if server is None:
            return self._disrupted(f"server {self.status.server} is gone: its pod was deleted")
        if server.ended:
            words = f"server {server.name} is gone"
            return self._disrupted(f"{words}: {server.disrupted}") if server.disrupted else self._retry(words)
        if observed.refusal is not None:
            return self._refused(observed.refusal)
        if isinstance(answer, Unreadable):
            return self._blamed_unless_taken(f"server {server.name} gave {answer.message}")
        if isinstance(answer, NoResponse):
            return self._silent(answer)
        if isinstance(answer, OrderState) and answer.attempt == self.status.attempt:
            return self._answered(answer)
        if isinstance(answer, OrderState) and answer.attempt > self.status.attempt:
            return self._retry(f"server {self.status.server} already has a later attempt")
        if server.terminating or server.disrupted:
            return self._disrupted(self._taken_sentence(server))
        if self.status.phase == "Running":
            return self._retry(f"server {self.status.server} was restarted and has lost the request")
        if self._not_taken_for() >= self.settings.server_silent_seconds + LONGEST_PAUSE_SECONDS:
            return self._retry(f"server {self.status.server} does not accept the request")
        return self._send()

    def _refused(self, refusal: OrderRefusal) -> Plan:
        problem = refusal.problem
        if refusal.kind == "never" or (problem is not None and problem.fatal):
            reason = "Refused" if problem is None else problem.reason
            return self._fail(reason, refusal.message)
        if problem is not None:
            return self._not_yet(problem.reason, problem.message)
        if refusal.kind == "busy":
            status = to.unscheduled(self.status, self.at, "ServerBusy", refusal.message)
            return Plan(status=status, requeue_after=self.settings.generation_poll_seconds)
        if refusal.kind == "unfit":
            status = to.unscheduled(self.status, self.at, to.UNFIT, refusal.message)
            return Plan(status=status, requeue_after=self.settings.generation_poll_seconds)
        return self._retry(refusal.message)

    def _send(self) -> Plan:
        server, status = self.observed.server, to.heard(self.status, self.at)
        assert server is not None
        assert status.model_digest is not None
        assert status.seed is not None
        order = SendOrder(server, status.attempt, status.model_digest, status.seed)
        return self._poll(status, order)

    def _silent(self, answer: NoResponse) -> Plan:
        server = self.observed.server
        assert server is not None
        status = to.silent(self.status, self.at, answer.message)
        since = to.silent_since(status) or self.at.now
        if server.terminating or server.disrupted:
            return self._disrupted(self._taken_sentence(server))
        if (self.at.now - since).total_seconds() < self.settings.server_silent_seconds:
            return self._poll(status)
        # Without another ready server only a new pod can serve; the Deployment replaces a deleted one.
        delete: tuple[Ref, ...] = () if self.observed.servers > int(server.available) else (server.ref,)
        if answer.unreachable:
            return self._disrupted(f"server {server.name} cannot be reached; its node may be lost", delete)
        return self._retry(f"server {server.name} does not respond: {answer.message}", delete)

    def _answered(self, state: OrderState) -> Plan:
        if state.phase == "succeeded":
            return self._delivered(state)
        if state.phase == "failed" and not state.retriable:
            return self._fail("RenderingFailed", state.error or "the server gave no reason")
        if state.phase in ("failed", "cancelled"):
            return self._blamed_unless_taken(
                state.error or f"server {self.status.server} reports the request as {state.phase}"
            )
        status = to.running(self.generation, self.status, self.at, state)
        stuck = self._stuck(status)
        if stuck is not None:
            server = self.observed.server
            return self._retry(stuck, (server.ref,) if server else ())
        return self._poll(status)

    def _stuck(self, status: Status) -> str | None:
        """Why the server is replaced: it has made no step within the time limit. None: it is not stuck."""
        progress = status.progress
        if progress is None or progress.moved is None:
            return None
        limit = self.settings.server_unmeasured_seconds
        if progress.stage == "denoising" and progress.step_seconds is not None:
            limit = max(LONGEST_PAUSE_SECONDS, STALL_STEPS * progress.step_seconds)
        still = (self.at.now - progress.moved).total_seconds()
        if still < limit:
            return None
        return (
            f"server {status.server} has made no progress after step {progress.step} ({progress.stage}) for "
            f"{still:.0f} s"
        )

    def _delivered(self, state: OrderState) -> Plan:
        inspection, problem = self.observed.inspection, self.observed.problem
        named = [file.name for file in state.result.files] if state.result else []
        if state.result is None or layout.VIDEO not in named or not _as_ordered(named):
            return self._retry(f"server {self.status.server} reports success with other files than ordered")
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
        left = self.observed.leftovers
        if inspection.committed and self.observed.problem is None and (left or not inspection.recorded):
            # A failure here is reported once and does not block the clip.
            record = () if inspection.recorded else (Record(),)
            return self._poll(self.status, *record, *((Clean(left),) if left else ()), after=0.0)
        if inspection.committed:
            self.status = to.change(self.status, cleaned=left == ())
            status = to.succeeded(self.status, self.at, delivery, inspection.committed)
            if not self.settings.status_urls:
                status = to.without_addresses(status)
            assert status.video is not None
            warning = to.unheard(status)
            events = [Event("PromptNotHeard", warning, "Warning")] if warning else []
            return Plan(status=status, events=(Event("Succeeded", f"the clip is {status.video.uri}"), *events))
        if inspection.broken is not None:
            return self._retry(inspection.broken)
        waiting = self.settings.store_probe_seconds if self.observed.problem else 0.0
        return self._poll(self._store_problem(), *(Commit((copy,)) for copy in inspection.copies), after=waiting)

    def _commit_is_hopeless(self) -> bool:
        """Whether a request that should have ended waits for a store that cannot be used."""
        over = self.generation.spec.cancel or self._deadline() <= self.at.now
        inspection = self.observed.inspection
        return over and self.observed.problem is not None and not (inspection and inspection.committed)

    def _stop(self, ended: Status, event: Event) -> Plan:
        """End the request once its server has stopped, so that the server is then free for the next request.

        The pod of a server that does not stop in time is deleted, and the request ends.
        """
        answer, server = self.observed.answer, self.observed.server
        if server is None or not isinstance(answer, OrderState) or answer.phase in ENDED_ORDER:
            return Plan(status=ended, events=(event,))
        since = self.status.stopping_since or self.at.now
        if (self.at.now - since).total_seconds() >= self._stop_limit():
            return Plan(status=ended, events=(event,), delete=(server.ref,))
        status = to.change(self.status, stopping_since=since)
        return self._poll(status, CancelOrder(server, self.generation.metadata.uid))

    def _stop_limit(self) -> float:
        progress = self.status.progress
        if progress is None or progress.step_seconds is None:
            return self.settings.server_unmeasured_seconds
        return max(LONGEST_PAUSE_SECONDS, STOP_STEPS * progress.step_seconds)

    def _blamed_unless_taken(self, message: str) -> Plan:
        """A failed attempt, unless the server's pod was being deleted at the time."""
        server = self.observed.server
        if server is not None and (server.terminating or server.disrupted):
            return self._disrupted(self._taken_sentence(server))
        return self._retry(message)

    def _taken_sentence(self, server: ServerPod) -> str:
        return f"server {server.name} was stopped: {server.disrupted or 'its pod is being deleted'}"

    def _disrupted(self, message: str, delete: tuple[Ref, ...] = ()) -> Plan:
        """Another attempt at once, without counting a failure: after a planned stop or the loss of a node."""
        status = to.disrupted(self.status, self.at, f"attempt {self.status.attempt}: {message}")
        event = Event(to.DISRUPTED, f"attempt {status.attempt} is assigned to another server: {message}")
        return Plan(status=status, events=(event,), delete=delete, requeue_after=0.0)

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

    def _not_taken_for(self) -> float:
        """Seconds since the attempt was scheduled on its server, which still does not know it."""
        found = find_condition(self.status.conditions, "Scheduled")
        return (self.at.now - found.last_transition_time).total_seconds() if found and found.status == "True" else 0.0

    def _poll(
        self, status: Status, *effects: SendOrder | CancelOrder | Commit | Record | Clean, after: float | None = None
    ) -> Plan:
        wait = self.settings.generation_poll_seconds if after is None else after
        return Plan(status=status, effects=effects, requeue_after=wait)

    def _store_problem(self) -> Status:
        problem = self.observed.problem
        if problem is None:
            return self.status
        return to.waits_for_store(self.status, self.at, problem.reason, problem.message)

    def _order_succeeded(self) -> bool:
        """Whether the clip is rendered and its store can be used; otherwise the request may end."""
        answer = self.observed.answer
        if not isinstance(answer, OrderState) or answer.attempt != self.status.attempt:
            return False
        return answer.phase == "succeeded" and self.observed.problem is None

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
        if found is None or found.status == "True" or found.reason not in (to.RETRYING, to.UNFIT):
            return False
        wait = self.settings.retry_backoff_seconds if found.reason == to.UNFIT else self._backoff(self.status.failures)
        return found.last_transition_time + timedelta(seconds=wait) > self.at.now


def _as_ordered(named: list[str]) -> bool:
    """Whether a server reports only the files of its order: names become keys, and servers are not trusted."""
    return len(named) == len(set(named)) and set(named) <= set(ORDERED_FILES)

"""How an attempt fails: the failure class of a pod, whether it ends the attempt, and the wait before the next one.

The end of a pod does not end the attempt: the group continues with fewer nodes and the Job replaces the pod. A failure
that a new pod cannot repair (a wrong configuration, no memory, a NaN, a stall) ends the attempt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kinema_api import names
from kinema_api.training_status import FailureClass
from kinema_api.wire import EXIT_CODES, TerminationMessage
from kinema_operator.core.settings import Settings
from kinema_operator.training.observed import PodEnd, PodSeen
from kinema_operator.training.view import View

BY_SEVERITY: Final[tuple[FailureClass, ...]] = (
    "user_error",
    "hardware",
    "numerics",
    "out_of_memory",
    "stall",
    "network",
    "unknown",
    "preemption",
)
"""Order of likelihood that a class is the cause: a user error of one trainer is a network error in its peers."""

ENDS_ATTEMPT: Final[frozenset[FailureClass]] = frozenset(
    {"user_error", "hardware", "numerics", "out_of_memory", "stall"}
)

_REASONS: Final[dict[FailureClass, str]] = {
    "preemption": "Preempted",
    "out_of_memory": "OutOfMemory",
    "numerics": "Numerics",
    "hardware": "HardwareFailed",
    "stall": "Stalled",
    "network": "NetworkOrStorage",
    "user_error": "UserError",
    "unknown": "TrainerFailed",
}
ADVICE: Final[dict[FailureClass, str]] = {
    "preemption": "",
    "out_of_memory": (
        "lower optimization.batchTokens, raise nodes, or give worker.resources more memory, with a new runId"
    ),
    "numerics": "lower optimization.learningRate with a new runId",
    "hardware": "have the nodes in status.excludedNodes repaired or cordoned, then set a new runId",
    "stall": "see the trainers' logs and at the network between the nodes, then set a new runId",
    "network": "check that pods reach each other and the object store, then set a new runId",
    "user_error": "correct the spec and set a new runId",
    "unknown": "see the trainers' logs, then set a new runId",
}

_DISRUPTED: Final = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Preempting", "Terminated", "Shutdown"})
_KILLED: Final = frozenset({128 + 9, 128 + 15})
"""Exit codes after SIGKILL and SIGTERM."""

CRASH_LOOP_WINDOW: Final = timedelta(minutes=10)
CRASH_LOOP_ROUNDS: Final = 2
"""Failures per node within the window that end the attempt while no group is training."""
_MESSAGE_LENGTH: Final = 1024


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended."""

    failure_class: FailureClass
    message: str
    step: int | None = None
    """For class numerics: the optimizer step that failed, counted from 1."""
    node: str = ""
    """For class hardware: the node."""
    wait: timedelta | None = None
    """For a group that was not scheduled: the wait before the next attempt; see placement.py."""

    @property
    def reason(self) -> str:
        """Reason of the condition."""
        return "NotPlaced" if self.wait is not None else _REASONS[self.failure_class]


def classify(end: PodEnd) -> FailureClass:
    """The failure class of a container's end, from the most to the least specific evidence."""
    if end.disrupted or end.reason in _DISRUPTED:
        return "preemption"
    if end.reason == "OOMKilled":
        return "out_of_memory"
    if end.word:
        return end.word.failure_class
    for failure_class, code in EXIT_CODES.items():
        if end.exit_code == code:
            return failure_class
    return "preemption" if end.exit_code in _KILLED else "unknown"


def describe(pod: PodSeen, end: PodEnd) -> str:
    """One sentence on how a pod ended: its termination message, if it has one."""
    if end.word:
        said = end.word.message
    elif end.reason == "OOMKilled":
        said = "the kernel killed it: out of memory"
    else:
        said = end.message or end.reason or f"exit code {end.exit_code}"
    return f"{pod.name}: {said}"[:_MESSAGE_LENGTH]


def parse_termination_message(message: str) -> TerminationMessage | None:
    """A trainer's termination message, or None if there is no readable one."""
    try:
        return TerminationMessage.model_validate_json(message)
    except ValueError:
        return None


def failed_pods(pods: Iterable[PodSeen]) -> list[tuple[FailureClass, PodSeen, PodEnd]]:
    """Trainers that failed, the likely cause first."""
    found = [(classify(pod.end), pod, pod.end) for pod in pods if pod.end and pod.end.exit_code != 0]
    return sorted(found, key=lambda item: (BY_SEVERITY.index(item[0]), _finished(item[2]), item[1].name))


def fatal(pods: Iterable[PodSeen]) -> Failure | None:
    """A failure that a replacement pod cannot repair."""
    for failure_class, pod, end in failed_pods(pods):
        if failure_class in ENDS_ATTEMPT:
            return _failure(failure_class, pod, end)
    return None


def of_job(pods: Iterable[PodSeen], message: str) -> Failure:
    """Why the Job as a whole failed."""
    for failure_class, pod, end in failed_pods(pods):
        return _failure(failure_class, pod, end)
    return Failure("unknown", message or "the Job failed and its trainers left no termination message")


def crash_loop(pods: Iterable[PodSeen], nodes: int, now: datetime) -> Failure | None:
    """The failure of trainers that end repeatedly while no group is training."""
    recent = [
        (failure_class, pod, end)
        for failure_class, pod, end in failed_pods(pods)
        if failure_class != "preemption" and end.finished and now - end.finished <= CRASH_LOOP_WINDOW
    ]
    if len(recent) < CRASH_LOOP_ROUNDS * nodes:
        return None
    failure_class, pod, end = recent[0]
    return Failure(failure_class, f"{len(recent)} trainers failed and none is training; {describe(pod, end)}")


def stalled(view: View) -> Failure | None:
    """A stall although enough trainers run: for too long no step, no group, or no response of rank 0.

    Times are ages: clocks of different machines are never compared.
    """
    running = sum(pod.running for pod in view.trainers)
    if running < view.spec.min_nodes:
        return None
    progress, settings = view.progress, view.settings
    stepped = progress is not None and (progress.step_age_seconds is not None or progress.last_step_time is not None)
    limit = settings.group_seconds
    if progress is not None and stepped:
        limit = max(settings.stall_floor_seconds, settings.stall_factor * (progress.step_seconds or 0.0))
    if view.seen.quiet_seconds <= limit:
        return None
    for_so_long = f"for {int(limit)} s although {running} trainers run"
    if progress is not None:
        return Failure("stall", f"no step {for_so_long} (step {progress.step})")
    if view.seen.answering:
        return Failure(
            "stall", f"no group has formed {for_so_long}: see the logs of the rendezvous and of the trainers"
        )
    return Failure(
        "stall", f"no trainer has responded {for_so_long}: check that the operator can reach port {names.PROGRESS_PORT}"
    )


def backoff(failure_class: FailureClass, earlier: int, settings: Settings) -> timedelta:
    """How long to wait before the attempt after the (`earlier` + 1)-th failure of a class."""
    if failure_class in ("preemption", "hardware"):
        # No wait: the next attempt runs on other nodes.
        return timedelta(0)
    seconds = settings.retry_backoff_seconds * 2.0 ** min(earlier, 32)
    return timedelta(seconds=min(seconds, settings.retry_backoff_max_seconds))


def budget_spent(failure_class: FailureClass, earlier: int, settings: Settings) -> bool:
    """Whether no attempt is left after `earlier` failures of this class. Preemptions are not limited."""
    return failure_class != "preemption" and earlier >= settings.retry_budget.get(failure_class, 0)


def _failure(failure_class: FailureClass, pod: PodSeen, end: PodEnd) -> Failure:
    step = end.word.step + 1 if failure_class == "numerics" and end.word and end.word.step is not None else None
    return Failure(failure_class, describe(pod, end), step, pod.node if failure_class == "hardware" else "")


def _finished(end: PodEnd) -> float:
    return end.finished.timestamp() if end.finished else 0.0

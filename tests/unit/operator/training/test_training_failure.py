"""Every way a pod can end has a class, and every class its consequence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kinema_api.training_status import FailureClass
from kinema_api.wire import EXIT_CODES, TerminationMessage, TrainerProgress
from kinema_operator.core.settings import Settings
from kinema_operator.training import failure
from kinema_operator.training.observed import Observed, PodEnd, PodSeen

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SETTINGS = Settings()


def pod(name: str, end: PodEnd | None = None, **fields: Any) -> PodSeen:
    return PodSeen(name=name, uid=name, component="trainer", run=1, attempt=1, end=end, **fields)


def running(name: str, seconds_ago: float = 600) -> PodSeen:
    return pod(name, phase="Running", started=NOW - timedelta(seconds=seconds_ago))


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (PodEnd(exit_code=137, disrupted=True), "preemption"),
        (PodEnd(reason="Evicted"), "preemption"),
        (PodEnd(exit_code=2, disrupted=True), "preemption"),
        (PodEnd(exit_code=137, reason="OOMKilled"), "out_of_memory"),
        (PodEnd(exit_code=1, word=TerminationMessage(failure_class="numerics", message="loss is NaN")), "numerics"),
        (PodEnd(exit_code=2, reason="Error"), "user_error"),
        (PodEnd(exit_code=40), "out_of_memory"),
        (PodEnd(exit_code=41), "numerics"),
        (PodEnd(exit_code=42), "stall"),
        (PodEnd(exit_code=43), "network"),
        (PodEnd(exit_code=44), "preemption"),
        (PodEnd(exit_code=137, reason="Error"), "preemption"),
        (PodEnd(exit_code=143), "preemption"),
        (PodEnd(exit_code=139), "unknown"),
        (PodEnd(exit_code=1), "unknown"),
        (PodEnd(), "unknown"),
    ],
)
def test_classes(end: PodEnd, expected: FailureClass) -> None:
    assert failure.classify(end) == expected


def test_every_exit_code_is_read_back_as_its_class() -> None:
    assert {name: failure.classify(PodEnd(exit_code=code)) for name, code in EXIT_CODES.items()} == {
        name: name for name in EXIT_CODES
    }


def test_the_cause_is_told_from_its_consequences() -> None:
    blamed = PodEnd(exit_code=2, word=TerminationMessage(failure_class="user_error", message="heads must divide width"))
    found = failure.fatal([pod("a", PodEnd(exit_code=43)), pod("b", blamed), pod("c", PodEnd(exit_code=143))])
    assert found == failure.Failure("user_error", "b: heads must divide width")


@pytest.mark.parametrize("code", [0, 1, 43, 44, 137, 143])
def test_what_a_new_pod_may_heal_ends_no_attempt(code: int) -> None:
    assert failure.fatal([pod("a", PodEnd(exit_code=code))]) is None


def test_a_last_word_that_cannot_be_read_is_no_word() -> None:
    assert failure.parse_termination_message("Traceback ...") is None
    assert failure.parse_termination_message('{"failureClass": "novel", "message": ""}') is None
    word = failure.parse_termination_message('{"failureClass": "numerics", "message": "NaN at step 7", "step": 7}')
    assert word == TerminationMessage(failure_class="numerics", message="NaN at step 7", step=7)


def test_trainers_that_die_again_and_again_end_the_attempt() -> None:
    def died(n: int, minutes_ago: float, code: int = 1) -> list[PodSeen]:
        at = NOW - timedelta(minutes=minutes_ago)
        return [pod(f"p{i}-{code}", PodEnd(exit_code=code, finished=at)) for i in range(n)]

    assert failure.crash_loop(died(3, 1), 2, NOW) is None
    found = failure.crash_loop(died(4, 1), 2, NOW)
    assert found is not None
    assert found.failure_class == "unknown"
    assert failure.crash_loop(died(4, 11), 2, NOW) is None
    assert failure.crash_loop(died(20, 1, 137), 2, NOW) is None


def test_stalls(make_view: Any) -> None:
    def at(seconds_ago: float | None, step_seconds: float = 1.0) -> TrainerProgress:
        return TrainerProgress(
            run=1, attempt=1, world_size=2, step=5, step_age_seconds=seconds_ago, step_seconds=step_seconds
        )

    def stalled(progress: TrainerProgress | None, quiet: float, *pods: PodSeen) -> bool:
        seen = Observed(pods=pods, progress=progress, quiet_seconds=quiet)
        status = {"run": 1, "attempt": 1, "phase": "Training"}
        found = failure.stalled(make_view(status, seen, elastic={"minNodes": 2, "maxNodes": 3}))
        assert found is None or found.failure_class == "stall"
        return found is not None

    two = (running("a"), running("b"))
    assert not stalled(at(119), 119, *two)
    assert stalled(at(121), 121, *two)
    assert not stalled(at(121, step_seconds=10), 121, *two)
    assert stalled(at(201, step_seconds=10), 201, *two)
    assert not stalled(at(500), 60, *two), "a newcomer starts the clock anew"
    assert not stalled(at(500), 500, running("a")), "too few to form a group: that is waiting, not a stall"
    assert not stalled(at(None), 599, *two), "a first step takes longer"
    assert stalled(at(None), 601, *two)
    assert not stalled(None, 599, *two)
    assert stalled(None, 601, *two), "a group that never forms"


def test_backoff_doubles_up_to_its_bound_and_preemption_is_free() -> None:
    waits = [failure.backoff("network", n, SETTINGS).total_seconds() for n in range(8)]
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert failure.backoff("network", 10_000, SETTINGS).total_seconds() == 300
    assert failure.backoff("preemption", 5, SETTINGS) == timedelta(0)


def test_budgets() -> None:
    assert failure.budget_spent("user_error", 0, SETTINGS)
    assert not failure.budget_spent("out_of_memory", 1, SETTINGS)
    assert failure.budget_spent("out_of_memory", 2, SETTINGS)
    assert not failure.budget_spent("network", 9, SETTINGS)
    assert not failure.budget_spent("preemption", 10_000, SETTINGS)


def test_every_class_has_a_reason_and_advice() -> None:
    for name in EXIT_CODES:
        assert failure.Failure(name, "").reason.isalpha()
        assert name == "preemption" or "runId" in failure.ADVICE[name]

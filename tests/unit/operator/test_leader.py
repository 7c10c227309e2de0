"""Who may write when: the election's decisions on a clock that the test moves."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from examples import examples
from kinema_operator.shell.leader import Term

DURATION = 12.0


def lease(holder: str, renewed: int, duration: float = DURATION) -> dict[str, Any]:
    return {"spec": {"holderIdentity": holder, "renewTime": str(renewed), "leaseDurationSeconds": duration}}


def test_a_free_lease_may_be_taken_at_once() -> None:
    term = Term("me", DURATION)
    term.observe(None, 100)
    assert term.expires_at(None) <= 100
    released = lease("", 1)
    term.observe(released, 100)
    assert term.expires_at(released) <= 100


def test_a_held_lease_may_be_taken_when_it_has_not_changed_for_its_duration() -> None:
    term = Term("me", DURATION)
    first, renewed = lease("other", 1), lease("other", 2)
    term.observe(first, 100)
    term.observe(first, 105)
    assert term.expires_at(first) == 112
    term.observe(renewed, 106)
    assert term.expires_at(renewed) == 118


def test_a_dead_process_of_the_same_pod_is_another_holder() -> None:
    term = Term("pod-0_aaaa", DURATION)
    held = lease("pod-0_bbbb", 1)
    term.observe(held, 100)
    assert term.expires_at(held) == 112


def test_the_term_counts_from_before_the_request_and_ends_early() -> None:
    term = Term("me", DURATION)
    assert term.remaining(100) < 0
    term.renewed(asked_at=100)
    assert 0 < term.remaining(100) < DURATION
    assert term.remaining(100 + DURATION) < 0
    term.end()
    assert term.remaining(100) < 0


class Election(RuleBasedStateMachine):
    """Replicas with clocks of their own offset, answers that get lost, processes that are stopped and woken."""

    REPLICAS = 3

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.offsets = [0.0, 5000.0, -300.0]
        self.terms = [Term(f"r{index}", DURATION) for index in range(self.REPLICAS)]
        self.lease: dict[str, Any] | None = None
        self.writes = 0

    def clock(self, index: int) -> float:
        return self.now + self.offsets[index]

    def write(self, index: int, asked_at: float, *, answer_lost: bool) -> None:
        self.writes += 1
        self.lease = lease(f"r{index}", self.writes)
        if not answer_lost:
            self.terms[index].renewed(asked_at)

    @rule(seconds=st.floats(0.1, 8))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(index=st.integers(0, REPLICAS - 1), slow=st.floats(0, 3), answer_lost=st.booleans())
    def candidate(self, index: int, slow: float, answer_lost: bool) -> None:
        term, seen = self.terms[index], self.lease
        term.observe(seen, self.clock(index))
        asked_at = self.clock(index)
        if asked_at >= term.expires_at(seen):
            self.now += slow
            self.write(index, asked_at, answer_lost=answer_lost)

    @rule(index=st.integers(0, REPLICAS - 1), slow=st.floats(0, 3), answer_lost=st.booleans())
    def holder(self, index: int, slow: float, answer_lost: bool) -> None:
        asked_at = self.clock(index)
        holds = self.lease is not None and self.lease["spec"]["holderIdentity"] == f"r{index}"
        if holds and self.terms[index].remaining(asked_at) > 0:
            self.now += slow
            self.write(index, asked_at, answer_lost=answer_lost)

    @invariant()
    def at_most_one_may_write(self) -> None:
        allowed = [index for index in range(self.REPLICAS) if self.terms[index].remaining(self.clock(index)) > 0]
        assert len(allowed) <= 1


Election.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=60, deadline=None)
TestElection = Election.TestCase

"""The work queue: one hand per key, nothing lost, ageing, backoff. Time is a number here, never a wait."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from examples import examples
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.shell.runtime import Runtime
from kinema_operator.shell.workqueue import AGEING_SECONDS, Priority, Schedule, WorkQueue

KEYS = st.sampled_from("abcde")


class Workers(RuleBasedStateMachine):
    """Any order of additions, delays, claims and ends keeps the two promises."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Schedule[str] = Schedule(1.0, 8.0)
        self.now = 0.0
        self.in_hand: list[str] = []
        self.owed: set[str] = set()
        self.delayed: dict[str, float] = {}

    @rule(key=KEYS, priority=st.sampled_from(Priority))
    def add(self, key: str, priority: Priority) -> None:
        self.schedule.add(key, self.now, priority)
        self.owed.add(key)

    @rule(key=KEYS, seconds=st.floats(0, 20))
    def add_later(self, key: str, seconds: float) -> None:
        self.schedule.add_at(key, self.now + seconds)
        self.delayed[key] = self.now + seconds

    @rule(key=KEYS, seconds=st.floats(0, 20))
    def add_by(self, key: str, seconds: float) -> None:
        when = self.now + seconds
        self.schedule.add_by(key, when)
        if key not in self.owed or key in self.in_hand:
            self.delayed[key] = min(when, self.delayed.get(key, when))

    @rule(seconds=st.floats(0, 30))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def claim(self) -> None:
        ripe = {key for key, when in self.delayed.items() if when <= self.now}
        self.owed |= ripe
        claim = self.schedule.claim(self.now)
        for key in ripe:
            del self.delayed[key]
        if claim is None:
            assert self.owed <= set(self.in_hand), "something is due and was not handed out"
            return
        assert claim.key not in self.in_hand, "one key in two hands"
        assert claim.key in self.owed, "handed out without a reason"
        self.owed.discard(claim.key)
        self.delayed.pop(claim.key, None)
        self.in_hand.append(claim.key)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), fails=st.booleans())
    def end(self, data: st.DataObject, fails: bool) -> None:
        key = data.draw(st.sampled_from(self.in_hand))
        if fails:
            wait = self.schedule.failed(key, self.now)
            assert 1.0 <= wait <= 8.0
            self.delayed[key] = self.now + wait
        else:
            self.schedule.succeeded(key)
        self.schedule.done(key, self.now)
        self.in_hand.remove(key)

    @invariant()
    def counts_hands(self) -> None:
        assert self.schedule.working == len(self.in_hand)

    def teardown(self) -> None:
        for key in list(self.in_hand):
            self.schedule.done(key, self.now)
        self.owed |= set(self.delayed)
        self.now += 1000.0
        handed: list[str] = []
        while (claim := self.schedule.claim(self.now)) is not None:
            handed.append(claim.key)
        assert sorted(handed) == sorted(self.owed), "what was added is handed out, once"


Workers.TestCase.settings = hypothesis_settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestWorkers = Workers.TestCase


def test_what_is_added_while_in_hand_runs_once_more_afterwards() -> None:
    schedule: Schedule[str] = Schedule(1, 60)
    schedule.add("a", 0)
    assert schedule.claim(0) is not None
    schedule.add("a", 1)
    schedule.add("a", 2)
    assert schedule.claim(2) is None
    schedule.done("a", 3)
    again = schedule.claim(3)
    assert again is not None
    assert again.key == "a"
    schedule.done("a", 4)
    assert schedule.claim(4) is None


def test_live_changes_pass_a_resync_but_only_until_it_has_aged() -> None:
    schedule: Schedule[str] = Schedule(1, 60)
    schedule.add("old", 0, Priority.RESYNC)
    schedule.add("soon", AGEING_SECONDS - 1, Priority.LIVE)
    schedule.add("late", AGEING_SECONDS + 1, Priority.LIVE)
    order = [claim.key for _ in range(3) if (claim := schedule.claim(AGEING_SECONDS + 2)) is not None]
    assert order == ["soon", "old", "late"]


def test_a_live_change_lifts_a_key_that_waits_in_a_resync() -> None:
    schedule: Schedule[str] = Schedule(1, 60)
    schedule.add("first", 0, Priority.RESYNC)
    schedule.add("lifted", 0.1, Priority.RESYNC)
    schedule.add("lifted", 0.2, Priority.LIVE)
    claim = schedule.claim(1)
    assert claim is not None
    assert claim.key == "lifted"
    assert claim.waited == pytest.approx(0.9)


@given(st.integers(1, 60))
def test_backoff_doubles_up_to_its_maximum_and_starts_anew_after_success(failures: int) -> None:
    schedule: Schedule[str] = Schedule(0.5, 60)
    waits = [schedule.failed("a", 0) for _ in range(failures)]
    assert waits == [min(60.0, 0.5 * 2**n) for n in range(failures)]
    schedule.succeeded("a")
    assert schedule.failed("a", 0) == 0.5


def test_a_claim_forgets_the_delay_and_a_later_delay_replaces_an_earlier_one() -> None:
    schedule: Schedule[str] = Schedule(1, 60)
    schedule.add_at("a", 5)
    schedule.add_at("a", 50)
    assert schedule.claim(10) is None
    assert schedule.next_time() == 50
    schedule.add("a", 11)
    assert schedule.claim(11) is not None
    assert schedule.next_time() is None


def test_news_that_may_wait_is_looked_at_once_and_never_later_than_it_may() -> None:
    schedule: Schedule[str] = Schedule(1, 60)
    for at in range(5):
        schedule.add_by("a", at + 10)
    assert schedule.next_time() == 10
    schedule.add_at("a", 60)
    schedule.add_by("a", 12)
    assert schedule.next_time() == 12
    assert schedule.claim(12) is not None
    # What comes while it is looked at waits too, and is not forgotten.
    schedule.add_by("a", 20)
    schedule.add_by("a", 50)
    schedule.done("a", 13)
    assert schedule.claim(19) is None
    assert schedule.claim(20) is not None
    assert schedule.claim(100) is None


def test_forgotten_keys_do_not_come_back() -> None:
    schedule: Schedule[str] = Schedule(1, 60)
    schedule.failed("a", 0)
    schedule.forget("a")
    assert schedule.claim(1000) is None


async def test_workers_wait_for_keys_and_draining_hands_out_nothing_more() -> None:
    queue: WorkQueue[str] = WorkQueue(0.01, 1, asyncio.get_running_loop().time)
    done: list[str] = []
    both = asyncio.Event()

    async def work() -> None:
        while True:
            claim = await queue.claim()
            done.append(claim.key)
            queue.done(claim.key)
            if len(done) == 2:
                both.set()

    workers = [asyncio.create_task(work()) for _ in range(3)]
    queue.add_within("late", 0.02)
    queue.add("now")
    async with asyncio.timeout(10):
        await both.wait()
    assert await queue.drain(1.0)
    queue.add("never")
    assert done == ["now", "late"]
    assert queue.depth == 1
    for worker in workers:
        worker.cancel()


async def test_draining_waits_for_the_key_in_hand_and_tells_when_it_did_not_end() -> None:
    queue: WorkQueue[str] = WorkQueue(0.01, 1, asyncio.get_running_loop().time)
    queue.add("a")
    claim = await queue.claim()
    assert not await queue.drain(0.01)
    asyncio.get_running_loop().call_soon(queue.done, claim.key)
    assert await queue.drain(10)


def key_of(namespace: str, number: int) -> Key:
    return Key("VideoModelTraining", namespace, f"t-{number}")


async def test_a_namespace_with_one_key_does_not_wait_for_one_with_a_thousand() -> None:
    queue: WorkQueue[Key] = WorkQueue(0.01, 1, asyncio.get_running_loop().time)
    for number in range(1000):
        queue.add(key_of("crowd", number))
    queue.add(key_of("alone", 0))
    first = [(await queue.claim()).key.namespace for _ in range(2)]
    assert "alone" in first, "whoever comes first is served first, however many keys its namespace has"


async def test_a_namespace_whose_reconciles_never_end_leaves_hands_to_the_others() -> None:
    """Workers as the runtime has them: each takes a key and gives it back; those of one namespace never come back."""
    settings, stuck, served = Settings(), asyncio.Event(), asyncio.Event()
    runtime = Runtime.__new__(Runtime)
    queue = _queue_of(settings)
    for number in range(200):
        queue.add(key_of("stuck", number))

    async def reconcile(key: Key) -> float | None:
        if key.namespace == "stuck":
            await stuck.wait()
        else:
            served.set()
        return None

    runtime._queue = queue
    runtime._reconciler = type("Looks", (), {"reconcile": staticmethod(reconcile)})()  # type: ignore[assignment]
    workers = [asyncio.create_task(runtime._work()) for _ in range(settings.reconcile_concurrency)]
    for _ in range(100):
        await asyncio.sleep(0)
    queue.add(key_of("other", 0))
    for _ in range(100):
        await asyncio.sleep(0)
    answered = served.is_set()
    for worker in workers:
        worker.cancel()
    assert answered, "every worker waits for the one namespace"


def _queue_of(settings: Settings) -> WorkQueue[Key]:
    """The queue with the arguments that the runtime gives it, whatever they are by now."""
    hands = {"hands": settings.reconcile_concurrency} if "hands" in inspect.signature(WorkQueue).parameters else {}
    return WorkQueue(0.01, 1, asyncio.get_running_loop().time, **hands)

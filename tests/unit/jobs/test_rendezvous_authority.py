"""The authority over rounds: whatever members and time do, no two rounds can train at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from examples import examples
from kinema_api.names import LEASE_SHARE
from kinema_api.training import MAX_NODES
from kinema_jobs.rendezvous.authority import Authority, Message, Outbox
from kinema_jobs.rendezvous.errors import RendezvousRefused, StaleRound
from kinema_jobs.rendezvous.settings import RendezvousSettings

TIMES = RendezvousSettings(heartbeat_seconds=1, lost_seconds=10, settle_seconds=0.3, straggler_seconds=60)
RUN = "uid/1/1"


@dataclass
class Agent:
    """An agent as the protocol binds it: its worker runs only in its round and only while its lease lasts."""

    id: str
    lease_until: float
    running: int | None = None
    """Round in which its worker runs."""
    connected: bool = True
    token: str = ""
    rounds: list[int] = field(default_factory=list)


def authority(min_nodes: int = 1, now: float = 0.0) -> Authority:
    """An authority that has been up for longer than any lease."""
    return Authority(RUN, min_nodes, TIMES, now - TIMES.lost_seconds)


def joined(rounds: Authority, *ids: str, now: float) -> None:
    for id_ in ids:
        rounds.hello(id_, RUN, now)
        rounds.wait(id_, f"{id_}:1", 1, 0, now)


def assignments(out: Outbox) -> dict[str, Message]:
    return {member: message for member, message in out.messages if message["type"] == "round"}


def test_a_round_needs_min_nodes_and_stillness() -> None:
    rounds = authority(min_nodes=2)
    joined(rounds, "a", now=0)
    assert not rounds.tick(5).messages
    joined(rounds, "b", now=6)
    rounds.heard("a", 6)
    assert not rounds.tick(6.2).messages
    given = assignments(rounds.tick(6.31))
    assert {m: (a["rank"], a["nodes"], a["store"]) for m, a in given.items()} == {
        "a": (0, 2, "a:1"),
        "b": (1, 2, "a:1"),
    }


def test_ranks_count_slots() -> None:
    rounds = authority()
    for id_, slots in (("a", 4), ("b", 2)):
        rounds.hello(id_, RUN, 0)
        rounds.wait(id_, id_, slots, 0, 0)
    given = assignments(rounds.tick(1))
    assert (given["a"]["base"], given["b"]["base"], given["b"]["world"]) == (0, 4, 6)


def test_survivors_are_told_at_once_and_go_on_without_the_lost_member() -> None:
    rounds = authority()
    joined(rounds, "a", "b", "c", now=0)
    rounds.tick(1)
    sent = rounds.lost("a", "its connection broke", 2)
    assert {m for m, message in sent.messages if message["type"] == "reform" and not message["planned"]} == {"b", "c"}
    rounds.wait("b", "b:1", 1, 1, 2.1)
    assert not assignments(rounds.tick(5)), "c has not come yet"
    rounds.heard("b", 5)
    rounds.wait("c", "c:1", 1, 1, 5)
    given = assignments(rounds.tick(5.4))
    assert given.keys() == {"b", "c"}
    assert given["b"]["number"] == 2
    assert given["b"]["rank"] == 0, "survivors keep their order"


def test_survivors_wait_for_nobody_once_all_have_come() -> None:
    rounds = authority()
    joined(rounds, "a", "b", "c", now=0)
    rounds.tick(1)
    rounds.lost("a", "its connection broke", 2)
    rounds.wait("b", "b:1", 1, 1, 2.1)
    rounds.wait("c", "c:1", 1, 1, 2.2)
    assert assignments(rounds.tick(2.2)).keys() == {"b", "c"}


def test_a_newcomer_among_survivors_may_be_followed_by_others() -> None:
    rounds = authority()
    joined(rounds, "a", "b", now=0)
    rounds.tick(1)
    rounds.lost("a", "its connection broke", 2)
    joined(rounds, "c", now=2)
    rounds.wait("b", "b:1", 1, 1, 2.1)
    assert not assignments(rounds.tick(2.2))
    joined(rounds, "d", now=2.2)
    assert assignments(rounds.tick(2.6)).keys() == {"b", "c", "d"}


def test_growth_asks_for_a_planned_end() -> None:
    rounds = authority()
    joined(rounds, "a", now=0)
    rounds.tick(1)
    rounds.hello("b", RUN, 2)
    sent = rounds.wait("b", "b:1", 1, 0, 2)
    assert sent.messages == [("a", {"type": "reform", "number": 1, "reason": "b waits to join", "planned": True})]
    assert not assignments(rounds.tick(3))
    rounds.wait("a", "a:1", 1, 1, 4)
    assert assignments(rounds.tick(4.5)).keys() == {"a", "b"}


def test_a_planned_end_turns_urgent_when_a_member_is_lost() -> None:
    rounds = authority()
    joined(rounds, "a", "b", now=0)
    rounds.tick(1)
    rounds.leaving("b", 2)
    sent = rounds.lost("b", "killed", 3)
    assert [(m, message["planned"]) for m, message in sent.messages] == [("a", False)]


def test_a_newcomer_waits_for_the_lease_of_a_group_that_is_wholly_lost() -> None:
    rounds = authority()
    joined(rounds, "a", now=0)
    rounds.tick(1)
    rounds.heard("a", 5)
    rounds.lost("a", "its connection broke", 5.5)
    joined(rounds, "b", now=6)
    rounds.heard("b", 14)
    assert not rounds.tick(14.9).messages, "a may still be training: its lease counts from its last heartbeat"
    assert assignments(rounds.tick(15.1)).keys() == {"b"}


def test_a_service_started_anew_waits_for_leases_it_does_not_know() -> None:
    rounds = Authority(RUN, 1, TIMES, 100)
    rounds.hello("a", RUN, 100)
    rounds.wait("a", "a:1", 1, 7, 100)
    rounds.heard("a", 109)
    assert not rounds.tick(109.9).messages
    assert assignments(rounds.tick(110.1))["a"]["number"] == 8, "above the highest round that anybody has seen"


def test_a_service_that_is_told_that_leases_are_over_waits_for_none_in_its_first_life(tmp_path: Path) -> None:
    (tmp_path / "leases-over").write_text("1")
    times = RendezvousSettings(lost_seconds=10, settle_seconds=0.05, pod_info=tmp_path, scratch=tmp_path)
    for first in (True, False):
        rounds = Authority(RUN, 1, times, 100)
        rounds.hello("a", RUN, 100)
        rounds.wait("a", "a:1", 1, 7, 100)
        assert bool(rounds.tick(100.1).messages) is first, "its own members may hold leases once it has served"


def test_a_straggler_is_dropped_and_told() -> None:
    rounds = authority()
    joined(rounds, "a", "b", now=0)
    rounds.tick(1)
    rounds.wait("a", "a:1", 1, 1, 2)
    for moment in range(3, 62):
        rounds.heard("a", moment)
        rounds.heard("b", moment)
    out = rounds.tick(62)
    assert out.dropped == ["b"]
    assert assignments(out).keys() == {"a"}


def test_another_run_is_refused_with_a_sentence() -> None:
    with pytest.raises(RendezvousRefused, match=r"serves 'uid/1/1', not 'uid/1/2': start the worker"):
        authority().hello("a", "uid/1/2", 0)


def test_only_the_current_round_may_commit_finish_and_retire_its_service() -> None:
    rounds = authority()
    joined(rounds, "a", "b", now=0)
    first = assignments(rounds.tick(1))["a"]
    assert rounds.is_current(first["number"], first["token"], "b")
    rounds.lost("b", "killed", 2)
    assert not rounds.is_current(first["number"], first["token"], "b"), "a lost member commits nothing"
    rounds.wait("a", "a:1", 1, 1, 2)
    second = assignments(rounds.tick(3))["a"]
    assert not rounds.is_current(first["number"], first["token"], "a")
    assert not rounds.is_current(second["number"], first["token"], "a"), "the number alone is not enough"
    for forbidden in (
        lambda: rounds.finish(first["number"], first["token"]),
        lambda: rounds.retire(first["number"], first["token"]),
    ):
        with pytest.raises(StaleRound, match="join the next round"):
            forbidden()


def test_a_retired_service_forms_no_round() -> None:
    rounds = authority()
    joined(rounds, "a", now=0)
    place = assignments(rounds.tick(1))["a"]
    rounds.retire(place["number"], place["token"])
    rounds.wait("a", "a:1", 1, 1, 2)
    assert assignments(rounds.tick(100)) == {}


def test_after_the_end_everybody_who_waits_is_told() -> None:
    rounds = authority()
    joined(rounds, "a", "b", now=0)
    place = assignments(rounds.tick(1))["a"]
    rounds.hello("c", RUN, 2)
    rounds.wait("c", "c:1", 1, 0, 2)
    assert rounds.finish(place["number"], place["token"]).messages == [("c", {"type": "finished"})]
    assert not rounds.lost("a", "it ended", 3).messages, "nobody re-forms a run that is done"
    rounds.hello("d", RUN, 4)
    assert rounds.wait("d", "d:1", 1, 0, 4).messages == [("d", {"type": "finished"})]


def test_rounds_are_numbered_above_what_the_bucket_holds() -> None:
    rounds = authority()
    joined(rounds, "a", now=0)
    place = assignments(rounds.tick(1))["a"]
    sent = rounds.outdated(place["number"], place["token"], 41, 2)
    assert sent.messages[0][1]["planned"] is False
    rounds.wait("a", "a:1", 1, 1, 3)
    assert assignments(rounds.tick(4))["a"]["number"] == 42


class Rounds(RuleBasedStateMachine):
    """Agents that keep the protocol come, go, fall silent and lose connections in any order and at any pace.

    A step of a round needs every member of it, so a round can train only while all its members' workers run.
    """

    agents = Bundle("agents")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.rounds = authority(now=self.now)
        self.known: dict[str, Agent] = {}
        self.groups: dict[int, tuple[str, ...]] = {}
        self.numbers: list[int] = []
        self.gone: set[str] = set()

    @rule(target=agents)
    def comes(self) -> str:
        id_ = f"agent-{len(self.known)}"
        self.rounds.hello(id_, RUN, self.now)
        self.known[id_] = Agent(id_, self.now + TIMES.lost_seconds * LEASE_SHARE)
        self.deliver(self.rounds.wait(id_, id_, 1, 0, self.now))
        return id_

    @rule(id_=agents)
    def heartbeat(self, id_: str) -> None:
        agent = self.known[id_]
        if agent.connected:
            self.rounds.heard(id_, self.now)
            agent.lease_until = self.now + TIMES.lost_seconds * LEASE_SHARE

    @rule(id_=agents)
    def stops_its_worker_and_waits(self, id_: str) -> None:
        agent = self.known[id_]
        if agent.connected and agent.running is not None:
            agent.running = None
            self.deliver(self.rounds.wait(id_, id_, 1, max(agent.rounds), self.now))

    @rule(id_=consumes(agents))
    def connection_breaks_but_the_worker_runs_on(self, id_: str) -> None:
        agent = self.known[id_]
        if agent.connected:
            agent.connected = False
            self.gone.add(id_)
            self.deliver(self.rounds.lost(id_, "reset", self.now))

    @rule(id_=consumes(agents))
    def leaves(self, id_: str) -> None:
        agent = self.known[id_]
        if agent.connected:
            agent.running, agent.connected = None, False
            self.gone.add(id_)
            self.deliver(self.rounds.left(id_, self.now))

    @rule(seconds=st.sampled_from([0.05, 0.35, 1.0, 4.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.deliver(self.rounds.tick(self.now))

    def deliver(self, out: Outbox) -> None:
        for id_ in out.dropped:
            self.known[id_].connected = False
            self.gone.add(id_)
        given = assignments(out)
        for id_, place in given.items():
            agent = self.known[id_]
            assert id_ not in self.gone, "a lost member is never in a new round"
            agent.running, agent.token = place["number"], place["token"]
            agent.rounds.append(place["number"])
        if given:
            number = next(iter(given.values()))["number"]
            assert not self.numbers or number > self.numbers[-1], "round numbers rise"
            self.numbers.append(number)
            self.groups[number] = tuple(given)

    @invariant()
    def at_most_one_round_can_train(self) -> None:
        able = [
            number
            for number, group in self.groups.items()
            if all(self.known[i].running == number and self.now < self.known[i].lease_until for i in group)
        ]
        assert len(able) <= 1, f"rounds {able} could take steps at the same time"

    @invariant()
    def at_most_one_round_may_commit(self) -> None:
        allowed = {
            agent.running
            for agent in self.known.values()
            if agent.running is not None and self.rounds.is_current(agent.running, agent.token, agent.id)
        }
        assert len(allowed) <= 1
        assert allowed <= set(self.numbers[-1:])


Rounds.TestCase.settings = hypothesis_settings(max_examples=examples(150), stateful_step_count=40, deadline=None)
TestRounds = Rounds.TestCase


def test_a_group_of_the_largest_size_forms_in_one_round() -> None:
    rounds = authority(min_nodes=MAX_NODES)
    joined(rounds, *(f"m{number:04d}" for number in range(MAX_NODES)), now=0)
    given = assignments(rounds.tick(1.0))
    assert {message["rank"] for message in given.values()} == set(range(MAX_NODES))
    assert {(message["nodes"], message["world"]) for message in given.values()} == {(MAX_NODES, MAX_NODES)}

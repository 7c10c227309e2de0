"""The authority over rounds, without I/O: from events and the time it decides which members are in which round.

A round is a set of members that train together. Its safety rests on three facts:

1. A member stops its worker before it waits for the next round. A step needs every member, so a round cannot step any
   more once one of its members is in a newer round.
2. A member that hears nothing stops within names.LEASE_SHARE of `lost_seconds` (a lease, as in Gray and Cheriton 1989,
   SOSP); the authority gives the member up only after the whole of `lost_seconds`.
3. If no member of the previous round is in the new one, the authority waits until that lease has expired. A service
   that has just started knows no previous round, so it waits too, unless it learns from its settings that all members
   have been without a service for longer than a lease.

All three hold within one service. Two services can serve one attempt at the same time, since a node that is cut off
from the API server only keeps its pods. The bucket decides which of them may commit (`kinema_api.head`), by the token
of the service, which each place carries. The other service is retired and serves no member from then on.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from kinema_jobs.rendezvous.errors import RendezvousRefused, StaleRound
from kinema_jobs.rendezvous.settings import RendezvousSettings

Message = dict[str, Any]


@dataclass
class Member:
    """An agent with an open connection."""

    id: str
    last_heard: float
    address: str = ""
    """host:port of the TCPStore that this agent would host as rank 0."""
    slots: int = 1
    """Worker processes on this node."""
    arrived: float | None = None
    """Since when it has been waiting for a round; None: it does not wait."""


@dataclass(frozen=True)
class Round:
    """A group that trains together."""

    number: int
    token: str
    """Random, so that rounds of two services differ even if their numbers are equal."""
    members: tuple[str, ...]
    """Ids by rank of the node."""


@dataclass
class Outbox:
    """Messages that the caller is to send, and connections that it is to close."""

    messages: list[tuple[str, Message]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


class Authority:
    """Numbers the rounds of one attempt of a run. All times are seconds on one monotonic clock."""

    def __init__(self, run_id: str, min_nodes: int, settings: RendezvousSettings, now: float) -> None:
        self.run_id = run_id
        self.min_nodes = min_nodes
        self.settings = settings
        self.members: dict[str, Member] = {}
        self.current: Round | None = None
        self.finished = False
        self.retired = False
        self.service = secrets.token_hex(8)
        """Identifies this service in the bucket; new at each start of the process."""
        self.generation = settings.generation()
        self._highest = 0
        self._changed = now
        self._safe_at = now + (0.0 if settings.leases_over() else settings.lost_seconds)
        """Until then no round is formed without a member of the previous round."""
        self.departing = False
        """No further round is formed here."""
        self._reforming_since: float | None = None
        self._told: set[tuple[str, bool]] = set()

    # What happens to members.

    def hello(self, member: str, run_id: str, now: float) -> None:
        """Let an agent in.

        Raises:
            RendezvousRefused: the agent belongs to another run.
        """
        if run_id != self.run_id:
            raise RendezvousRefused(
                f"this rendezvous serves {self.run_id!r}, not {run_id!r}: start the worker with the address of its "
                "own attempt's rendezvous"
            )
        self.members[member] = Member(member, now)

    def wait(self, member: str, address: str, slots: int, seen: int, now: float) -> Outbox:
        """A member whose worker does not run waits for the next round; `seen` is the highest round that it was in."""
        waiting = self.members[member]
        waiting.address, waiting.slots, waiting.last_heard = address, slots, now
        waiting.arrived = now
        self._highest = max(self._highest, seen)
        self._changed = now
        out = Outbox()
        if self.finished:
            out.messages.append((member, {"type": "finished"}))
        elif self._in_round(member):
            self._ask_to_reform(out, f"{member} rejoined", planned=False, now=now)
        elif self.current:
            self._ask_to_reform(out, f"{member} waits to join", planned=True, now=now)
        return out

    def heard(self, member: str, now: float) -> None:
        """A message of the member has arrived."""
        self.members[member].last_heard = now

    def leaving(self, member: str, now: float) -> Outbox:
        """A member wants to go and asks its round to end at a step boundary first."""
        out = Outbox()
        if self._in_round(member):
            self._ask_to_reform(out, f"{member} leaves", planned=True, now=now)
        return out

    def left(self, member: str, now: float) -> Outbox:
        """A member has stopped its worker and is gone."""
        self.members.pop(member, None)
        self._changed = now
        out = Outbox()
        if self._in_round(member):
            self._ask_to_reform(out, f"{member} left", planned=False, now=now)
        return out

    def lost(self, member: str, reason: str, now: float) -> Outbox:
        """A member's connection broke, or it was silent for too long. It never comes back under this id."""
        gone = self.members.pop(member, None)
        self._changed = now
        out = Outbox()
        if gone and self._in_round(member) and gone.arrived is None:
            self._safe_at = max(self._safe_at, gone.last_heard + self.settings.lost_seconds)
            self._ask_to_reform(out, f"{member} is lost: {reason}", planned=False, now=now)
        return out

    def finish(self, number: int, token: str) -> Outbox:
        """The current round has committed the run's final manifest."""
        self._require_current(number, token)
        self.finished = True
        return Outbox([(m.id, {"type": "finished"}) for m in self.members.values() if m.arrived is not None])

    def depart(self, now: float) -> Outbox:
        """This service is about to end: its round ends at a step boundary, and another service forms the next one."""
        self.departing = True
        out = Outbox()
        self._ask_to_reform(out, "the rendezvous is being moved to another node", planned=True, now=now)
        return out

    @property
    def at_work(self) -> bool:
        """Whether a member of the current round does not wait for the next one yet, so that it may still commit."""
        return bool(self._missing())

    # Passing time.

    def tick(self, now: float) -> Outbox:
        """Drop silent and late members, and form the next round if possible."""
        out = Outbox()
        for member in [*self.members.values()]:
            if now - member.last_heard >= self.settings.lost_seconds:
                self._drop(out, member.id, f"no heartbeat for {self.settings.lost_seconds:g} s", now)
        if self._reforming_since is not None and now - self._reforming_since >= self.settings.straggler_seconds:
            for straggler in self._missing():
                self._drop(out, straggler, "did not come to the next round", now)
        if self._may_form(now):
            self._form(out, now)
        return out

    # Questions about a round.

    def is_current(self, number: int, token: str, member: str) -> bool:
        """Whether `member` may commit in this round: it is the newest, and the member has its place in it."""
        current = self.current
        return (
            current is not None
            and (current.number, current.token) == (number, token)
            and self._in_round(member)
            and member in self.members
        )

    def outdated(self, number: int, token: str, floor: int, now: float) -> Outbox:
        """The bucket holds work of round `floor`, which this service did not form: continue with higher numbers."""
        self._require_current(number, token)
        self._highest = max(self._highest, floor)
        out = Outbox()
        self._ask_to_reform(out, f"round {floor} has been here before", planned=False, now=now)
        return out

    def retire(self, number: int, token: str) -> None:
        """The current round has found that a newer service has claimed the attempt."""
        self._require_current(number, token)
        self.retired = True

    # Decisions.

    def _in_round(self, member: str) -> bool:
        return self.current is not None and member in self.current.members

    def _missing(self) -> list[str]:
        """Connected members of the current round that do not wait for the next one."""
        ids = self.current.members if self.current else ()
        return [i for i in ids if i in self.members and self.members[i].arrived is None]

    def _waiting(self) -> list[Member]:
        """Waiting members: first those of the current round by rank, then the others by arrival."""
        before = self.current.members if self.current else ()
        ranks = {member: rank for rank, member in enumerate(before)}
        waiting = [m for m in self.members.values() if m.arrived is not None]
        return sorted(waiting, key=lambda m: (ranks.get(m.id, len(ranks)), m.arrived or 0.0, m.id))

    def _may_form(self, now: float) -> bool:
        waiting = self._waiting()
        if self.finished or self.retired or self.departing or len(waiting) < self.min_nodes or self._missing():
            return False
        newcomers = any(not self._in_round(m.id) for m in waiting)
        # All survivors wait, so the round can form. Newcomers tend to arrive together and should share one round.
        if newcomers and now - self._changed < self.settings.settle_seconds:
            return False
        return now >= self._safe_at or any(self._in_round(m.id) for m in waiting)

    def _form(self, out: Outbox, now: float) -> None:
        group = self._waiting()
        self._highest += 1
        self.current = Round(self._highest, secrets.token_hex(8), tuple(m.id for m in group))
        self._reforming_since = None
        self._told.clear()
        world = sum(m.slots for m in group)
        base = 0
        for rank, member in enumerate(group):
            member.arrived = None
            out.messages.append((member.id, self._assignment(rank, base, world, group)))
            base += member.slots
        self._changed = now

    def _assignment(self, rank: int, base: int, world: int, group: list[Member]) -> Message:
        assert self.current is not None
        return {
            "type": "round",
            "number": self.current.number,
            "token": self.current.token,
            "rank": rank,
            "nodes": len(group),
            "base": base,
            "world": world,
            "store": group[0].address,
            "service": self.service,
            "generation": self.generation,
        }

    def _ask_to_reform(self, out: Outbox, reason: str, *, planned: bool, now: float) -> None:
        """Ask each member that still runs to end its round: once as planned, once more if it becomes urgent."""
        if self.finished:
            return
        if self._reforming_since is None:
            self._reforming_since = now
        for member in self._missing():
            if (member, planned) not in self._told and (member, False) not in self._told:
                self._told.add((member, planned))
                number = self.current.number if self.current else 0
                message = {"type": "reform", "number": number, "reason": reason, "planned": planned}
                out.messages.append((member, message))

    def _drop(self, out: Outbox, member: str, reason: str, now: float) -> None:
        gone = self.lost(member, reason, now)
        out.messages.extend(gone.messages)
        out.dropped.append(member)

    def _require_current(self, number: int, token: str) -> None:
        current = self.current
        if current is None or (current.number, current.token) != (number, token):
            now = current.number if current else 0
            raise StaleRound(f"round {number} is over (now {now}): stop this worker and join the next round")

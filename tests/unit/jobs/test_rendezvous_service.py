"""Members and the service over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from kinema_api.names import LEASE_SHARE
from kinema_jobs.rendezvous.authority import Authority
from kinema_jobs.rendezvous.errors import (
    RendezvousFinished,
    RendezvousRefused,
    RendezvousUnreachable,
    StaleRound,
)
from kinema_jobs.rendezvous.membership import Membership
from kinema_jobs.rendezvous.questions import Place, ask
from kinema_jobs.rendezvous.service import RendezvousServer
from kinema_jobs.rendezvous.settings import MemberSettings, RendezvousSettings

RUN = "uid/1/1"
TIMES = RendezvousSettings(heartbeat_seconds=0.1, lost_seconds=2, settle_seconds=0.05)
MEMBER = MemberSettings(patience_seconds=1, retry_seconds=0.05)


class Service:
    """A rendezvous service in a thread of its own."""

    def __init__(self, port: int = 0) -> None:
        self._loop = asyncio.new_event_loop()
        # Up for long: nobody's lease is to be waited for.
        self._server = RendezvousServer(Authority(RUN, 1, TIMES, time.monotonic() - TIMES.lost_seconds))
        self.port = self._loop.run_until_complete(self._server.start("127.0.0.1", port))
        self._turn = self._loop.create_task(self._server.run())
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._turn.cancel()
        await asyncio.wait([self._turn])
        await self._server.close()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


@pytest.fixture
def later() -> Iterator[Callable[..., Future[Place | None]]]:
    with ThreadPoolExecutor() as threads:
        yield lambda member, slots=1: threads.submit(member.join, "127.0.0.1:1", slots)


def member(service: Service, name: str, leases: list[float] | None = None) -> Membership:
    heard = leases if leases is not None else []
    return Membership(service.endpoint, RUN, name, MEMBER, heard.append)


def test_two_members_share_a_round(service: Service, later: Callable[..., Future[Place | None]]) -> None:
    one, two = later(member(service, "a")), later(member(service, "b"))
    places = [one.result(), two.result()]
    assert all(places)
    assert {p.rank for p in places if p} == {0, 1}
    assert {(p.number, p.world, p.token) for p in places if p} == {(places[0].number, 2, places[0].token)}  # type: ignore[union-attr]


def test_a_worker_asks_the_service_of_its_own_round_although_the_name_leads_to_another_by_now(
    service: Service, later: Callable[..., Future[Place | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node cut off from the API server, a rendezvous serves on while another one is made under the same name."""
    other = Service()
    behind_the_name = [service.port]
    real = socket.getaddrinfo

    def resolve(host: str, *rest: object, **more: object) -> list[object]:
        if host != "store":
            return real(host, *rest, **more)  # type: ignore[arg-type,return-value]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", behind_the_name[0]))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        first = later(Membership("store:1", RUN, "a", MEMBER)).result()
        assert first is not None
        behind_the_name[0] = other.port
        answer = ask("store:1", first, "current", patience=1, id=first.member)
        assert answer["current"] is True, "the round of a living service is called over by another one"
    finally:
        other.close()


def test_a_member_tells_the_lease_that_its_service_gave(
    service: Service, later: Callable[..., Future[Place | None]]
) -> None:
    one = member(service, "a")
    assert one.lease_seconds() is None, "no service has been heard"
    assert later(one).result()
    assert one.lease_seconds() == pytest.approx(TIMES.lost_seconds * LEASE_SHARE)
    one.leave()
    assert one.lease_seconds() == pytest.approx(TIMES.lost_seconds * LEASE_SHARE), "its worker may hold it yet"


def test_a_broken_connection_is_noticed_and_the_round_goes_on_without(
    service: Service, later: Callable[..., Future[Place | None]]
) -> None:
    stays, goes = member(service, "a"), member(service, "b")
    first = later(stays)
    later(goes).result()
    old = first.result()
    assert old
    assert goes._socket
    goes._socket.shutdown(socket.SHUT_RDWR)
    notice = stays.await_notice(5)
    assert notice
    assert not notice.planned
    new = stays.join("127.0.0.1:1", 1)
    assert new
    assert (new.number, new.nodes) == (old.number + 1, 1)
    assert ask(service.endpoint, new, "current", id=new.member, patience=1)["current"]
    assert not ask(service.endpoint, old, "current", id=old.member, patience=1)["current"]
    with pytest.raises(StaleRound):
        ask(service.endpoint, old, "outdated", floor=9, patience=1)


def test_a_member_that_hears_nothing_loses_its_lease_first(service: Service) -> None:
    leases: list[float] = []
    alone = member(service, "a", leases)
    alone.join("127.0.0.1:1", 1)
    service._loop.call_soon_threadsafe(time.sleep, 2.5)  # the service is frozen, connections stay open
    notice = alone.await_notice(5)
    assert notice
    assert "no heartbeat was answered" in notice.reason
    assert leases[-1] == 0.0


def test_a_member_outlives_the_service() -> None:
    first = Service()
    patient = Membership(first.endpoint, RUN, "a", MemberSettings(patience_seconds=30, retry_seconds=0.05))
    old = patient.join("127.0.0.1:1", 1)
    assert old
    first.close()
    assert patient.await_notice(5)
    second = Service(first.port)
    new = patient.join("127.0.0.1:1", 1)
    second.close()
    assert new
    assert new.number == old.number + 1


def test_a_member_tells_for_how_long_it_has_not_heard_the_service() -> None:
    service = Service()
    one = member(service, "a")
    assert one.silent_seconds() is None, "a node that still starts has not looked for it"
    assert one.join("127.0.0.1:1", 1)
    began = time.monotonic()
    service.close()
    assert one.await_notice(30)
    again = time.monotonic() + 1.0
    assert one.join("127.0.0.1:1", 1, lambda: time.monotonic() > again) is None
    silent = one.silent_seconds()
    assert silent is not None
    assert 1.0 <= silent <= time.monotonic() - began + 1.0, "looking for it in vain is not hearing it"


def test_refusals_are_sentences(service: Service) -> None:
    with pytest.raises(RendezvousRefused, match="start the worker with the address of its own attempt's rendezvous"):
        Membership(service.endpoint, "uid/1/2", "a", MEMBER).join("127.0.0.1:1", 1)
    nobody = Membership("127.0.0.1:9", RUN, "a", MEMBER)
    with pytest.raises(RendezvousUnreachable, match="check that the rendezvous pod runs"):
        nobody.join("127.0.0.1:1", 1)


def test_who_comes_after_the_end_is_told(service: Service) -> None:
    place = member(service, "a").join("127.0.0.1:1", 1)
    assert place
    ask(service.endpoint, place, "finish", patience=1)
    with pytest.raises(RendezvousFinished, match="final manifest is committed"):
        member(service, "b").join("127.0.0.1:1", 1)


def test_garbage_is_answered(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b'{"op":"sing"}\n')
        assert b"refused" in connection.makefile("rb").readline()
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"\x00\xff not json\n")
        assert connection.makefile("rb").read() == b""


def test_a_running_service_takes_in_a_smaller_least_size(tmp_path: Path) -> None:
    (tmp_path / "min-nodes").write_text("2")
    (tmp_path / "generation").write_text("7\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "kinema_jobs.rendezvous", "--run-id", RUN, "--port", "0", "--min-nodes", "2"],
        env={**os.environ, "KINEMA_RENDEZVOUS_POD_INFO": str(tmp_path), "KINEMA_RENDEZVOUS_LOST_SECONDS": "5"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        line = next(line for line in process.stderr if " on port " in line)
        port = int(line.partition(" on port ")[2].partition(",")[0])
        waits = Membership(f"127.0.0.1:{port}", RUN, "a", MEMBER, lambda _: None)
        until = time.monotonic() + 3
        assert waits.join("127.0.0.1:1", 1, lambda: time.monotonic() > until) is None, "one is too few"
        (tmp_path / "min-nodes").write_text("1")
        until = time.monotonic() + 30
        place = waits.join("127.0.0.1:1", 1, lambda: time.monotonic() > until)
        assert place is not None, "the new least size is never taken in"
        assert (place.nodes, place.generation) == (1, 7)
    finally:
        process.kill()
        process.wait()


def test_a_service_that_is_superseded_serves_nobody_and_stays(service: Service) -> None:
    one = member(service, "a")
    place = one.join("127.0.0.1:1", 1)
    assert place
    ask(service.endpoint, place, "retire", patience=1)
    assert one.await_notice(5)
    with pytest.raises(RendezvousUnreachable):
        member(service, "b").join("127.0.0.1:1", 1)

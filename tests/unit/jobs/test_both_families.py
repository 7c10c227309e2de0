"""Every server of a pod answers on IPv4 and on IPv6, and on IPv4 where there is nothing else."""

from __future__ import annotations

import errno
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from kinema_jobs.rendezvous.authority import Authority
from kinema_jobs.rendezvous.service import RendezvousServer
from kinema_jobs.rendezvous.settings import RendezvousSettings
from kinema_jobs.train.group import interface_of
from kinema_jobs.train.progress import ProgressFile
from kinema_jobs.train.telemetry import Telemetry, serve
from kinema_operator.shell.health import Probes

SIX = socket.has_ipv6 and Path("/proc/net/if_inet6").exists()
needs_six = pytest.mark.skipif(not SIX, reason="this machine has no IPv6")


def healthz(host: str, port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=10) as answer:
            return str(answer.read().decode().strip())
    except urllib.error.URLError as error:
        return str(error.reason)


@pytest.fixture(params=["both families", "IPv4 alone"])
def hosts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    if request.param == "both families":
        if not SIX:
            pytest.skip("this machine has no IPv6")
        return ["127.0.0.1", "[::1]"]

    class WithoutSix(socket.socket):
        def __init__(self, family: int = -1, *others: int, **named: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *others, **named)

    monkeypatch.setattr(socket, "socket", WithoutSix)
    return ["127.0.0.1"]


def test_a_trainer_answers_its_probes_on_every_family(tmp_path: Path, hosts: list[str]) -> None:
    server = serve(Telemetry(tmp_path / "progress.json", ProgressFile(run=1, attempt=1)), 0)
    try:
        assert {host: healthz(host, server.server_port) for host in hosts} == dict.fromkeys(hosts, "ok")
    finally:
        server.shutdown()
        server.server_close()


async def test_the_rendezvous_is_reached_on_every_family_at_one_port(hosts: list[str]) -> None:
    server = RendezvousServer(Authority("u/1/1", 1, RendezvousSettings(), 0.0))
    port = await server.start(None, 0)
    refused = []
    for host in hosts:
        try:
            socket.create_connection((host.strip("[]"), port), timeout=10).close()
        except OSError as error:
            refused.append(f"{host}: {error}")
    await server.close()
    assert refused == []


async def test_the_operator_answers_its_probes_on_every_family(hosts: list[str], free_port: Callable[[], int]) -> None:
    import asyncio

    probes, port = Probes([], 60.0), free_port()
    await probes.start(port, port)
    try:
        answers = {host: await asyncio.to_thread(healthz, host, port) for host in hosts}
    finally:
        await probes.stop()
    assert set(answers.values()) == {"{}"}, answers


@pytest.fixture
def free_port() -> Callable[[], int]:
    def free() -> int:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            return int(taken.getsockname()[1])

    return free


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        serve(Telemetry(tmp_path / "p", ProgressFile(run=1, attempt=1)), taken.getsockname()[1])


@needs_six
def test_the_interface_of_an_ipv6_address_is_found() -> None:
    assert interface_of("::1") == "lo"
    assert interface_of("2001:db8::1") is None

"""A store that was reached once is reached while DNS is silent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from kinema_api import storehttp
from kinema_api.addresses import MAX_HOSTS, LastAddresses
from kinema_api.storehttp import StoreHttp


class Answers(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("ETag", "x")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Dns:
    """What the resolver of this process says of store.test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self.asked = 0
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, *rest: Any, **more: Any) -> Any:
        if host != "store.test":
            return self._real(host, *rest, **more)
        self.asked += 1
        if self.error is not None:
            raise socket.gaierror(self.error, "as the test wants it")
        return self._real("127.0.0.1", *rest, **more)


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    monkeypatch.setattr(storehttp, "LAST", LastAddresses())
    return Dns(monkeypatch)


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://store.test:{server.server_port}/bucket/key"
    server.shutdown()
    server.server_close()


def reached(url: str) -> bool:
    """By a connection of its own."""
    try:
        return StoreHttp().urlopen("HEAD", url).status == 200
    except HTTPError:
        return False


def test_a_store_that_was_reached_is_reached_while_dns_is_silent(dns: Dns, url: str) -> None:
    dns.error = socket.EAI_AGAIN
    assert not reached(url), "where it is was never known"
    dns.error = None
    assert reached(url)
    dns.error = socket.EAI_AGAIN
    assert reached(url)


def test_dns_that_was_silent_is_not_waited_for_at_each_connection(dns: Dns, url: str) -> None:
    assert reached(url)
    dns.error = socket.EAI_AGAIN
    assert reached(url)
    before = dns.asked
    assert reached(url)
    assert dns.asked == before


def test_a_name_that_is_gone_is_not_reached_by_its_old_address(dns: Dns, url: str) -> None:
    assert reached(url)
    dns.error = socket.EAI_NONAME
    assert not reached(url), "DNS has answered: there is no such store any more"


def test_the_next_process_knows_what_the_one_before_has_found(tmp_path: Path) -> None:
    file = tmp_path / "addresses.json"
    first = LastAddresses()
    first.share(file)
    first.reached("store.test", "10.0.0.1")
    first.reached("store.test", "10.0.0.2")
    second = LastAddresses()
    second.share(file)
    assert second.instead("store.test") is None, "DNS is asked while it answers"
    assert second.unresolved("store.test") == "10.0.0.2"
    assert second.instead("store.test") == "10.0.0.2"


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"a": {"b": 1}}'])
def test_a_torn_file_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "addresses.json"
    file.write_bytes(content)
    found = LastAddresses()
    found.share(file)
    found.reached("store.test", "10.0.0.1")
    assert json.loads(file.read_text())["store.test"] == "10.0.0.1"


def test_only_so_many_hosts_are_kept() -> None:
    found = LastAddresses()
    for number in range(MAX_HOSTS + 5):
        found.reached(f"h{number}", "10.0.0.1")
    assert found.unresolved("h0") is None
    assert found.unresolved(f"h{MAX_HOSTS + 4}") == "10.0.0.1"

"""A rendezvous whose node is drained lets its round end at a step boundary and commit."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kinema_jobs.rendezvous.membership import Membership
from kinema_jobs.rendezvous.questions import ask

RUN = "uid/1/1"


@pytest.fixture
def service() -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "kinema_jobs.rendezvous", "--run-id", RUN, "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen([*command, "--min-nodes", "1"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = next(found[1] for line in process.stderr if (found := re.search(r"on port (\d+)", line)))
    yield process, f"127.0.0.1:{port}"
    process.kill()
    process.wait()
    process.stderr.close()


def test_a_round_commits_before_its_rendezvous_goes(service: tuple[subprocess.Popen[str], str]) -> None:
    process, endpoint = service
    member = Membership(endpoint, RUN, "a")
    place = member.join("127.0.0.1:1", 1)
    assert place is not None
    process.send_signal(signal.SIGTERM)
    notice = member.await_notice(10)
    assert notice is not None
    assert notice.planned, "told to stop at a step boundary, not cut off"
    answer = ask(endpoint, place, "current", id=place.member, patience=2.0)
    assert answer["current"], "its commit is still allowed"
    member.leave()
    assert process.wait(10) == 0, "and it ends when nobody is at work"


def test_a_rendezvous_that_nobody_uses_ends_at_once(service: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = service
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0

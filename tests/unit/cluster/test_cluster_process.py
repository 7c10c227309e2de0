"""Only the very process that was started may ever be stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.process import Daemons, descendants, start_ticks


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    made = Daemons(tmp_path)
    yield made
    for name in made.names():
        made.stop(name, grace_seconds=0)


def test_a_daemon_is_started_once_and_stopped(daemons: Daemons) -> None:
    assert daemons.start("sleeper", ["sleep", "600"])
    assert not daemons.start("sleeper", ["sleep", "600"])
    assert daemons.running("sleeper")
    assert daemons.stop("sleeper")
    assert not daemons.running("sleeper")
    assert daemons.names() == []


def test_one_that_ignores_the_request_is_killed(daemons: Daemons) -> None:
    daemons.start("deaf", ["sh", "-c", "trap '' TERM; while :; do sleep 600; done"])
    record = daemons.record("deaf")
    assert record is not None
    daemons.stop("deaf", grace_seconds=0.2)
    assert start_ticks(record.pid) is None


@pytest.mark.parametrize("change", [{"started_ticks": 1}, {"boot": "another"}])
def test_a_process_that_took_over_the_id_is_left_alone(
    daemons: Daemons, tmp_path: Path, change: dict[str, object]
) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        daemons.start("ours", ["true"])
        record = daemons.record("ours")
        assert record is not None
        mine = {"pid": stranger.pid, "started_ticks": start_ticks(stranger.pid), "boot": record.boot}
        path = tmp_path / "run" / "ours.json"
        path.write_text(json.dumps({**dataclasses.asdict(record), **mine, **change}))
        assert not daemons.stop("ours", grace_seconds=0)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_descendants_are_found_at_every_depth() -> None:
    shell = subprocess.Popen(
        ["sh", "-c", "sh -c 'echo started; sleep 600; :'; :"], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"started\n"
        assert len(descendants(shell.pid)) >= 1
        assert shell.pid in descendants(os.getpid())
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()

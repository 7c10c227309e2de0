"""The server as a pod runs it: a process with arguments, a port and a SIGTERM."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from unit.jobs.serve.conftest import POLL_SECONDS

pytestmark = pytest.mark.slow


Order = Callable[..., dict[str, Any]]
SERVING = re.compile(rb"serving sha256:\S+ on port (\d+), ready after")


class Process:
    """A server process; its log is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = b""

    async def port(self) -> int:
        assert self.process.stderr is not None
        while not (found := SERVING.search(self.log)):
            line = await self.process.stderr.readline()
            assert line, self.log.decode()
            self.log += line
        return int(found[1])

    async def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        _, rest = await self.process.communicate()
        self.log += rest
        assert self.process.returncode is not None
        return self.process.returncode


@pytest.fixture
async def process(digest: str, tmp_path: Path) -> AsyncIterator[Process]:
    environment = {
        **os.environ,
        "KINEMA_SERVER_CACHE_DIR": str(tmp_path / "cache"),
        "KINEMA_SERVER_HOST": "127.0.0.1",
        "KINEMA_SERVER_GRACE_SECONDS": "0",
        "OMP_NUM_THREADS": "1",
    }
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kinema_jobs.serve", "--digest", digest, "--port", "0"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    yield Process(started)
    if started.returncode is None:
        started.kill()
        await started.wait()


async def test_it_serves_and_ends_cleanly_in_the_middle_of_an_order(process: Any, make_order: Order) -> None:
    base = f"http://127.0.0.1:{await process.port()}"
    async with aiohttp.ClientSession(base) as session:
        await session.post("/v1/orders", json=make_order())
        await _until(session, lambda state: state["phase"] == "succeeded")
        await session.post("/v1/orders", json=make_order(attempt=2, steps=200, size="128x128", seconds=4))
        await _until(session, lambda state: state["step"] > 0)
        assert await process.end() == 0
    assert b"attempt 2: cancelled" in process.log
    assert b"Traceback" not in process.log


async def _until(session: aiohttp.ClientSession, done: Callable[[dict[str, Any]], bool]) -> None:
    while True:
        async with session.get("/v1/orders/uid-1") as response:
            state: dict[str, Any] = await response.json()
        assert state["phase"] != "failed", state
        if done(state):
            return
        await asyncio.sleep(POLL_SECONDS)


async def test_a_digest_that_is_none_is_a_usage_error() -> None:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kinema_jobs.serve", "--digest", "latest"), stderr=asyncio.subprocess.PIPE
    )
    _, said = await started.communicate()
    assert started.returncode == 2
    assert b"write the digest as sha256:" in said

"""A server process ends when its device has failed, so that a new one is started in its place."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytestmark = pytest.mark.slow


Order = Callable[..., dict[str, Any]]
SERVING = re.compile(rb"serving sha256:\S+ on port (\d+), ready after")
POISONED = """
import runpy, sys
from kinema_model.pipeline import Pipeline
def fail(*_given, **_fields):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
Pipeline.generate = fail
runpy.run_module("kinema_jobs.serve", run_name="__main__", alter_sys=True)
"""


async def test_the_process_ends_with_the_code_of_a_hardware_failure(
    digest: str, make_order: Order, tmp_path: Path
) -> None:
    own = {"KINEMA_SERVER_CACHE_DIR": str(tmp_path / "cache"), "KINEMA_SERVER_HOST": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", POISONED, "--digest", digest, "--port", "0"),
        env={**os.environ, **own, "OMP_NUM_THREADS": "1"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    log = b""
    while not (found := SERVING.search(log)):
        log += await process.stderr.readline()
    draining = asyncio.ensure_future(process.stderr.read())
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{int(found[1])}") as session:
            await session.post("/v1/orders", json=make_order())
        ending = asyncio.ensure_future(process.wait())
        await asyncio.wait([ending], timeout=60)
        assert ending.done(), "the server is still up 60 s after its device has failed"
        assert ending.result() == 45
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await draining

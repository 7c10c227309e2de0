"""Who may give orders to a server: the operator, once each, signed for this pod; and nobody may wait for ever."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytestmark = pytest.mark.slow


Order = Callable[..., dict[str, Any]]
SERVING = re.compile(rb"serving sha256:\S+ on port (\d+), ready after")
POD_UID = "1f2e3d4c-0000-4000-8000-000000000001"


@asynccontextmanager
async def process(
    digest: str, folder: Path, **environment: str
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A server as a pod runs it, with the environment that the operator gives it."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kinema_jobs.serve", "--digest", digest, "--port", "0"),
        env={
            **os.environ,
            "KINEMA_SERVER_CACHE_DIR": str(folder / "cache"),
            "KINEMA_SERVER_HOST": "127.0.0.1",
            "KINEMA_SERVER_REQUEST_SECONDS": "1",
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert started.stderr is not None
    log = b""
    try:
        while not (found := SERVING.search(log)):
            line = await started.stderr.readline()
            assert line, log.decode()
            log += line
        yield f"http://127.0.0.1:{int(found[1])}", started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


def public_key() -> str:
    """A public key in base64, by the library that the key is made with; nothing of Kinema's is asked."""
    from Crypto.PublicKey import ECC

    return base64.b64encode(ECC.generate(curve="Ed25519").public_key().export_key(format="raw")).decode()


async def test_a_server_takes_no_order_that_the_operator_has_not_signed(
    digest: str, tmp_path: Path, make_order: Order
) -> None:
    async with (
        process(digest, tmp_path, KINEMA_ORDER_KEY=public_key(), KINEMA_POD_UID=POD_UID) as (base, _),
        aiohttp.ClientSession(base) as session,
    ):
        for method, path, body in (
            ("POST", "/v1/orders", make_order()),
            ("GET", "/v1/orders/uid-1", None),
            ("DELETE", "/v1/orders/uid-1", None),
            ("GET", "/v1/server", None),
        ):
            async with session.request(method, path, json=body) as answer:
                assert (method, path, answer.status) == (method, path, 401)
        async with session.get("/healthz") as answer:
            assert answer.status == 200


async def test_an_order_is_taken_once_from_the_operator_for_this_pod_and_as_it_was_signed(
    digest: str, tmp_path: Path, make_order: Order
) -> None:
    from kinema_api.signature import Signer, new_private_key

    signer, stranger = Signer(new_private_key()), Signer(new_private_key())
    path = "/v1/orders"

    def body(**fields: Any) -> bytes:
        return json.dumps(make_order(**fields)).encode()

    def headers(
        data: bytes, by: Signer = signer, pod: str = POD_UID, uid: str = "uid-1", attempt: int = 1
    ) -> dict[str, str]:
        return by.headers(pod, "POST", path, data, uid, attempt)

    async with (
        process(digest, tmp_path, KINEMA_ORDER_KEY=signer.public_key, KINEMA_POD_UID=POD_UID) as (base, _),
        aiohttp.ClientSession(base) as session,
    ):

        async def post(data: bytes, signed: dict[str, str]) -> int:
            async with session.post(path, data=data, headers=signed) as answer:
                return answer.status

        order = body()
        refused = {
            "a stranger's key": (order, headers(order, stranger)),
            "another pod": (order, headers(order, pod="another")),
            "another body": (body(prompt="something else"), headers(order)),
            "another request": (order, headers(order, uid="uid-2")),
            "another attempt": (order, headers(order, attempt=2)),
            "another time": (order, {**headers(order), "X-Kinema-Expires": "99999999999999"}),
        }
        for name, (data, signed) in refused.items():
            assert (name, await post(data, signed)) == (name, 401)
        taken = headers(order)
        assert await post(order, taken) == 202
        assert await post(order, taken) == 401
        assert await post(order, headers(order)) == 202


async def test_a_request_that_does_not_come_whole_is_not_waited_for(digest: str, tmp_path: Path) -> None:
    part_of_line = b"POST /v1/orders HT"
    part_of_body = b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"
    async with process(digest, tmp_path) as (base, _):
        port = int(base.rpartition(":")[2])
        await asyncio.gather(*(_closes(port, started) for started in (part_of_line, part_of_body)))


async def _closes(port: int, started: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(started)
    try:
        async with asyncio.timeout(40):
            while await reader.read(1 << 16):
                writer.write(b" ")
    except TimeoutError:
        pytest.fail(f"the connection is still open: {started!r}")
    except ConnectionError:
        pass
    writer.close()


async def test_an_order_with_a_field_of_a_newer_operator_is_left_to_a_newer_server(
    server: Any, make_order: Order
) -> None:
    for changed in (
        {**make_order(), "camera": "pan left"},
        {**make_order(), "shots": [{"prompt": "a blue circle", "seconds": 1, "transition": "dissolve"}]},
    ):
        status, said = await server.submit(changed)
        assert (status, "try another server" in said.get("error", "")) == (422, True)
    status, _ = await server.submit({**make_order(), "camera": None})
    assert status == 202


async def test_a_server_without_a_key_is_open_to_nobody_outside(digest: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KINEMA_")}
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kinema_jobs.serve", "--digest", digest, "--port", "0"),
        env={**environment, "KINEMA_SERVER_HOST": "0.0.0.0"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert started.stderr is not None
    log = b""
    while not SERVING.search(log) and (line := await started.stderr.readline()):
        log += line
    open_to_all = SERVING.search(log) is not None
    if started.returncode is None and open_to_all:
        started.kill()
    await started.wait()
    assert not open_to_all, log.decode()
    assert b"KINEMA_ORDER_KEY is not set" in log


SLOW_IMPORT = """
import importlib.abc, sys, time

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "kinema_jobs.serve.app":
            sys.stderr.write("importing\\n")
            sys.stderr.flush()
            while True:
                time.sleep(1)

sys.meta_path.insert(0, Slow())
"""


async def test_a_server_that_is_still_importing_ends_at_once(digest: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_IMPORT)
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kinema_jobs.serve", "--digest", digest, "--port", "0"),
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path}:{os.environ['PYTHONPATH']}"
            if os.environ.get("PYTHONPATH")
            else f"{tmp_path}:{':'.join(sys.path)}",
            "KINEMA_SERVER_HOST": "127.0.0.1",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert started.stderr is not None
    while b"importing" not in (line := await started.stderr.readline()):
        assert line
    started.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(60):
            code = await started.wait()
    except TimeoutError:
        code = None
        started.kill()
        await started.wait()
    assert code == 0

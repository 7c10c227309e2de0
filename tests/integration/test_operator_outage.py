"""What the operator does when the API server is away, and with no right outside its namespace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from integration.attempts_operator import KIND, training
from integration.operators import replica
from integration.server import Server, until
from kinema_api import names
from kinema_operator.manifests.rbac import OPERATOR_RULES, OWN_RULES
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection

pytestmark = pytest.mark.apiserver


class Gate:
    """Stands between a replica and the API server; shut, it takes in everything and passes nothing on."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def start(self) -> int:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._listener.sockets[0].getsockname()[1])

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        away_reader, away_writer = await asyncio.open_connection("127.0.0.1", self._target)
        for source, sink in ((reader, away_writer), (away_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


@pytest_asyncio.fixture
async def gate(server: Server) -> AsyncIterator[tuple[Gate, int]]:
    config = yaml.safe_load(server.kubeconfig.read_text())
    made = Gate(int(config["clusters"][0]["cluster"]["server"].rpartition(":")[2]))
    yield made, await made.start()
    await made.stop()


def kubeconfig_for(server: Server, path: Path, *, port: int | None = None, token: str | None = None) -> Path:
    """The administrator's kubeconfig by way of another port, or with a token in place of the certificate."""
    config = yaml.safe_load(server.kubeconfig.read_text())
    if port is not None:
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    if token is not None:
        config["users"][0]["user"] = {"token": token}
    path.write_text(json.dumps(config))
    return path


async def ready(client: Client, namespace: str, name: str) -> bool:
    obj = await client.get(KIND, namespace, name)
    job = await client.get("Job", namespace, names.job_name(name, 1, 1))
    return obj is not None and job is not None and bool((obj.get("status") or {}).get("conditions"))


async def test_silence_restarts_nobody_and_nothing_is_lost(
    server: Server, client: Client, namespace: str, gate: tuple[Gate, int], tmp_path: Path
) -> None:
    through, port = gate
    kubeconfig = kubeconfig_for(server, tmp_path / "gated.kubeconfig", port=port)
    patient = {"watch_stale_seconds": 4, "api_timeout_seconds": 2, "lease_duration_seconds": 600}
    with replica(kubeconfig, namespace, tmp_path / "only.log", **patient) as only:
        await client.post(training(namespace, "before"))
        await until(lambda: ready(client, namespace, "before"), "the first training")
        through.shut()

        async def ready_is(status: int) -> bool:
            return await only.probe("/readyz") == status

        await until(lambda: ready_is(503), "not ready")
        assert await only.probe("/healthz") == 200
        await client.post(training(namespace, "meanwhile"))
        through.open()
        await until(lambda: ready_is(200), "ready again")
        assert await only.probe("/healthz") == 200
        await until(lambda: ready(client, namespace, "meanwhile"), "the training of the meantime")
        assert only.end() == 0


async def test_a_namespaced_operator_needs_no_right_outside_its_namespace(
    server: Server, connection: Connection, client: Client, namespace: str, tmp_path: Path
) -> None:
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"}
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    await post(connection, f"{rbac}/roles", {"metadata": {"name": "operator"}, "rules": [*OPERATOR_RULES, *OWN_RULES]})
    binding = {"metadata": {"name": "operator"}, "roleRef": role, "subjects": [subject]}
    await post(connection, f"{rbac}/rolebindings", binding)
    request = {"spec": {"expirationSeconds": 3600}}
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = (await post(connection, account, request))["status"]["token"]
    kubeconfig = kubeconfig_for(server, tmp_path / "account.kubeconfig", token=token)
    with replica(kubeconfig, namespace, tmp_path / "only.log") as only:
        await client.post(training(namespace, "one"))
        await until(lambda: ready(client, namespace, "one"), "the training")
        assert only.end() == 0
        assert "forbidden" not in only.log.read_text()


async def post(connection: Connection, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with connection.session() as http, http.post(connection.server + path, json=body) as answer:
        assert answer.status == 201, await answer.text()
        made: dict[str, Any] = await answer.json()
        return made

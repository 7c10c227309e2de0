"""No name from a spec, a status or a pod leads a request anywhere but to the object of that name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from kinema_api.errors import KinemaApiError
from kinema_operator.core.errors import OperatorError
from kinema_operator.core.plan import Key, Ref
from kinema_operator.core.settings import Settings
from kinema_operator.generation.server_client import ServerClient
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection
from kinema_operator.training.trainers import Trainers

STEALS = "../../kinema-system/secrets/kinema-store"
LEADS_ELSEWHERE = [
    STEALS,
    "..",
    ".",
    "",
    "a/b",
    "a/../b",
    "%2e%2e",
    "..%2f..%2fkinema-system",
    "a\\b",
    "a\x00b",
    "a\nb",
]
OBJECT = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "x", "resourceVersion": "1"}}


class Listening:
    """An HTTP server on loopback that remembers the raw path of what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        return web.json_response(OBJECT)


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    found = Listening()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0).start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture
async def client(listening: Listening) -> AsyncIterator[Client]:
    made = Client(Connection(Configuration(host=f"http://127.0.0.1:{listening.port}")), 2.0)
    yield made
    await made.close()


Request = Callable[[Client, str], Awaitable[object]]
REQUESTS: dict[str, Request] = {
    "get": lambda client, name: client.get("Secret", "tenant", name),
    "get in a namespace": lambda client, name: client.get("Secret", name, "keys"),
    "list": lambda client, name: client.list_all("Secret", name),
    "delete": lambda client, name: client.delete(Ref("v1", "Secret", "tenant", name)),
    "patch": lambda client, name: client.patch(Ref("v1", "Secret", "tenant", name), {}, "1"),
    "apply": lambda client, name: client.apply({**OBJECT, "metadata": {"namespace": "tenant", "name": name}}),
    "lease": lambda client, name: client.get_lease("tenant", name, 2.0),
}


@pytest.mark.parametrize("name", LEADS_ELSEWHERE)
@pytest.mark.parametrize("request_", REQUESTS)
async def test_a_name_that_leads_elsewhere_is_never_asked_for(
    client: Client, listening: Listening, request_: str, name: str
) -> None:
    with suppress(OperatorError, KinemaApiError, KeyError):
        await REQUESTS[request_](client, name)
    assert listening.asked == []


async def test_a_name_with_characters_of_its_own_stays_one_part_of_the_path(
    client: Client, listening: Listening
) -> None:
    await client.get("Secret", "tenant", "a?b#c d&e")
    assert listening.asked == ["/api/v1/namespaces/tenant/secrets/a%3Fb%23c%20d%26e"]


NO_ADDRESS = ["localhost", "127.0.0.1/secrets?", "user@localhost", "127.0.0.1#", "LOCALHOST", ""]


@pytest.mark.parametrize("address", NO_ADDRESS)
async def test_a_trainer_is_asked_at_an_ip_address_and_nowhere_else(listening: Listening, address: str) -> None:
    pod = {"metadata": {"name": "p"}, "status": {"podIP": address}}
    trainers = Trainers(Settings(), listening.port)
    assert await trainers.progress(Key("VideoModelTraining", "tenant", "t"), 1, 1, [pod]) is None
    assert listening.asked == []


@pytest.mark.parametrize("address", NO_ADDRESS)
async def test_a_server_is_asked_at_an_ip_address_and_nowhere_else(listening: Listening, address: str) -> None:
    servers = ServerClient(1.0, listening.port)
    try:
        with suppress(ValueError):
            await servers.server(address)
            await servers.cancel(address, "u")
    finally:
        await servers.close()
    assert listening.asked == []


@pytest.mark.parametrize("uid", LEADS_ELSEWHERE)
async def test_an_order_is_asked_for_by_its_uid_and_nothing_else(listening: Listening, uid: str) -> None:
    servers = ServerClient(1.0, listening.port)
    try:
        await servers.order("127.0.0.1", uid)
        await servers.cancel("127.0.0.1", uid)
    finally:
        await servers.close()
    assert listening.asked == []

"""A real API server for the tests that are marked `apiserver`, and ways to look at it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from cluster.apiserver import ApiServer
from integration.kubectl import Kubectl
from integration.server import TEST_AGENT, Server, install_crds, make_namespace
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection

if TYPE_CHECKING:
    from integration.one_training import Agent


FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, so that slow unit tests can be chosen beside it."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """etcd and an API server on loopback, with the CRDs of manifests/crds."""
    with ApiServer(tmp_path_factory.mktemp("apiserver")) as running:
        asyncio.run(install_crds(running.kubeconfig))
        yield Server(running.kubeconfig, running.audit_log)


@pytest.fixture
def kubectl(server: Server) -> Kubectl:
    """kubectl in a namespace of the test's own."""
    name = f"k-{uuid.uuid4().hex[:10]}"
    Kubectl(server.kubeconfig, "default")("create", "namespace", name)
    return Kubectl(server.kubeconfig, name)


@pytest_asyncio.fixture
async def agent() -> AsyncIterator[Agent]:
    """What trainers answer, on loopback."""
    # It brings torch, which most of these tests do without.
    from integration.one_training import Agent, answering

    async with answering(Agent()) as made:
        yield made


@pytest_asyncio.fixture
async def connection(server: Server) -> Connection:
    """Administrator's credentials."""
    return await Connection.load(server.kubeconfig, TEST_AGENT)


@pytest_asyncio.fixture
async def client(connection: Connection) -> AsyncIterator[Client]:
    """A client without overlay and fence, for the test's own reads and writes."""
    made = Client(connection, 15.0)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def namespace(connection: Connection) -> AsyncIterator[str]:
    """A namespace of the test's own."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    await make_namespace(connection, name)
    yield name

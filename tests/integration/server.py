"""A real API server as integration tests see it: its audit log, Kinema's CRDs, and waiting for a condition."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinema_operator.shell.connection import Connection

REPOSITORY = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 40.0
TEST_AGENT = "test"
WRITE_VERBS = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True)
class Server:
    """One API server with Kinema's CRDs."""

    kubeconfig: Path
    audit_log: Path

    def audit(self, namespace: str) -> list[dict[str, Any]]:
        """Finished requests to one namespace, oldest first."""
        events = (json.loads(line) for line in self.audit_log.read_text().splitlines())
        return [
            event
            for event in events
            if event.get("stage") == "ResponseComplete" and (event.get("objectRef") or {}).get("namespace") == namespace
        ]

    def writes(self, namespace: str, agent: str = "kinema-operator") -> list[str]:
        """Writes by processes that call themselves `agent`, those that changed nothing included, Leases excepted."""
        return [
            f"{event['verb']} {event['objectRef']['resource']}/{event['objectRef'].get('name', '')}"
            f" {event['responseStatus']['code']}"
            for event in self.audit(namespace)
            if event["verb"] in WRITE_VERBS
            and event["objectRef"]["resource"] != "leases"
            and event.get("userAgent", "").startswith(agent)
        ]


async def until(condition: Callable[[], Awaitable[Any]], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """The first true value of `condition`, which is asked again and again; fails when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.05)


async def install_crds(kubeconfig: Path) -> None:
    connection = await Connection.load(kubeconfig, TEST_AGENT)
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    async with connection.session() as http:
        for file in sorted((REPOSITORY / "manifests" / "crds").glob("*.yaml")):
            crd = yaml.safe_load(file.read_text())
            async with http.post(connection.server + path, json=crd) as answer:
                assert answer.status == 201, await answer.text()

            async def served(plural: str = crd["spec"]["names"]["plural"]) -> bool:
                async with http.get(f"{connection.server}/apis/kinema.dev/v1alpha1/{plural}") as listed:
                    return listed.status == 200

            await until(served, f"{file.name} served")


async def make_namespace(connection: Connection, name: str) -> None:
    """A namespace with the service account that the controller manager would put there."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    async with connection.session() as http:
        for path, body in (("", namespace), (f"/{name}/serviceaccounts", account)):
            async with http.post(f"{connection.server}/api/v1/namespaces{path}", json=body) as answer:
                assert answer.status == 201, await answer.text()

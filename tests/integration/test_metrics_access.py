"""The operator's /metrics with authentication on: a real API server says who asks and whether they may."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from cluster.ports import free_port
from integration.kubectl import Kubectl
from integration.server import Server, until

pytestmark = pytest.mark.apiserver

READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: metrics-reader}
rules: [{nonResourceURLs: [/metrics], verbs: [get]}]
"""


@pytest_asyncio.fixture
async def metrics_url(server: Server, tmp_path: Path) -> AsyncIterator[str]:
    """/metrics of a running operator that asks who scrapes it."""
    port = free_port()
    environment = {
        **os.environ,
        "KUBECONFIG": str(server.kubeconfig),
        "KINEMA_METRICS_AUTHENTICATION": "true",
        "KINEMA_METRICS_PORT": str(port),
        "KINEMA_HEALTH_PORT": str(free_port()),
        "KINEMA_LINKS_PORT": str(free_port()),
        "KINEMA_POD_NAMESPACE": "default",
        "KINEMA_LEASE_NAME": "metrics-access",
    }
    log = (tmp_path / "operator.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kinema_operator", env=environment, stdout=log, stderr=log
    )
    url = f"http://127.0.0.1:{port}/metrics"

    async def listens() -> bool:
        try:
            await _scrape(url)
        except aiohttp.ClientError:
            return False
        return True

    await until(listens, "the operator listens")
    yield url
    process.terminate()
    await process.wait()


async def _scrape(url: str, token: str | None = None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_metrics_name_no_tenant_to_strangers(metrics_url: str, kubectl: Kubectl) -> None:
    for token in (None, "forged"):
        status, text = await _scrape(metrics_url, token)
        assert status == 401, f"answered {status} to somebody without a token of the cluster"
        assert "kinema_" not in text
    kubectl("create", "serviceaccount", "scraper")
    token = kubectl("create", "token", "scraper").strip()
    status, text = await _scrape(metrics_url, token)
    assert (status, "bind a ClusterRole" in text) == (403, True)


async def test_whoever_may_get_metrics_gets_them(metrics_url: str, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=READER)
    kubectl("create", "serviceaccount", "prometheus")
    account = f"--serviceaccount={kubectl.namespace}:prometheus"
    kubectl("create", "clusterrolebinding", kubectl.namespace, "--clusterrole=metrics-reader", account)
    status, text = await _scrape(metrics_url, kubectl("create", "token", "prometheus").strip())
    assert status == 200
    assert "kinema_operator_" in text

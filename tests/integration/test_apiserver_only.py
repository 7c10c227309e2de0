"""The API server that integration tests run against: real, audited, gone afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.apiserver import ApiServer
from cluster.errors import ApiError
from cluster.kubeapi import KubeApi
from cluster.process import all_pids
from cluster.progress import await_condition

pytestmark = pytest.mark.apiserver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("apiserver"), controller_manager=True) as running:
        yield running


def test_it_keeps_objects(server: ApiServer) -> None:
    api = KubeApi(server.kubeconfig)
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kept"}})
    assert api.request("GET", "/api/v1/namespaces/kept")["status"]["phase"] == "Active"


def test_the_audit_log_counts_writes_by_user(server: ApiServer) -> None:
    KubeApi(server.kubeconfig).apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "audited"}})

    def written() -> list[str]:
        events = [json.loads(line) for line in server.audit_log.read_text().splitlines()]
        wanted = [e for e in events if e.get("objectRef", {}).get("name") == "audited" and e["verb"] == "patch"]
        return [event["user"]["username"] for event in wanted]

    assert await_condition(lambda: written() == ["kinema-admin"], 10)


def test_controllers_run_when_asked_for(server: ApiServer) -> None:
    api = KubeApi(server.kubeconfig)

    def account() -> bool:
        try:
            return bool(api.request("GET", "/api/v1/namespaces/default/serviceaccounts/default"))
        except ApiError:
            return False

    assert await_condition(account, 30)


def test_nothing_is_left_running(tmp_path: Path) -> None:
    with ApiServer(tmp_path):
        assert _processes_of(tmp_path)
    assert not _processes_of(tmp_path)


def _processes_of(folder: Path) -> list[int]:
    found = []
    for pid in all_pids():
        try:
            if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found

"""The development cluster is a real Kubernetes: nodes, names, Services, policies, security standards, images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.settings import Settings
from stage import install, kube

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        os.environ.get("KINEMA_CLUSTER") == "kubeconfig", reason="asks things of a cluster of our own making"
    ),
]

NAMESPACE = "e2e-cluster"
RANDOM_UID = 1000680000
STATE = Settings.from_environment().state
READY_SECONDS = 120.0
NODE_PORT = 30877
SERVE = "from http.server import *; ThreadingHTTPServer(('', 8000), SimpleHTTPRequestHandler).serve_forever()"


@pytest.fixture(scope="session", autouse=True)
def kinema() -> None:
    """These tests are about the cluster alone: Kinema need not be in it."""
    install.cluster_tool("up")


@pytest.fixture(scope="module", autouse=True)
def pods(kinema: None) -> Iterator[None]:
    """A server on node1, a friend on node2, strangers on node1 and in another namespace."""
    for namespace in (NAMESPACE, f"{NAMESPACE}-foreign"):
        kube.kubectl("delete", "namespace", namespace, "--ignore-not-found", seconds=300)
        kube.restricted_namespace(namespace)
    notes = {"prometheus.io/scrape": "true", "prometheus.io/port": "8000", "prometheus.io/path": "/"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "server"},
            "ports": [{"port": 80, "targetPort": 8000, "nodePort": NODE_PORT}],
        },
    }
    server = worker_pod("server", "node1", notes)
    kube.apply([service, server, worker_pod("friend", "node2"), worker_pod("stranger", "node1")], NAMESPACE)
    kube.apply(worker_pod("foreigner", "node3"), f"{NAMESPACE}-foreign")
    for namespace in (NAMESPACE, f"{NAMESPACE}-foreign"):
        kube.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=120s", "-n", namespace)
    yield
    for namespace in (NAMESPACE, f"{NAMESPACE}-foreign"):
        kube.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def worker_pod(name: str, node: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod as the restricted standard wants it, with a random user and the machine's Python."""
    container = {
        "name": "main",
        "image": "localhost/kinema/worker-host:dev",
        "imagePullPolicy": "Never",
        "command": ["python", "-uc", SERVE],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": annotations or {}},
        "spec": {
            "nodeName": node,
            "runtimeClassName": "kinema-host-python",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": RANDOM_UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
            ],
        },
    }


def python(pod: str, code: str, namespace: str = NAMESPACE) -> str:
    """What Python code prints inside a pod."""
    return kube.kubectl("exec", pod, "-n", namespace, "--", "python", "-c", code).strip()


def reaches(pod: str, host: str, namespace: str = NAMESPACE, port: int = 80) -> bool:
    """Whether a pod can open a TCP connection."""
    code = f"""
import socket
try:
    socket.create_connection(({host!r}, {port}), 3).close()
except OSError:
    print("refused")
else:
    print("open")
"""
    return python(pod, code, namespace) == "open"


def test_three_nodes_are_ready_with_default_timings() -> None:
    nodes = json.loads(kube.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = [c["status"] for node in nodes for c in node["status"]["conditions"] if c["type"] == "Ready"]
    assert ready == ["True"] * 3
    for node in nodes:
        name = node["metadata"]["name"]
        config = json.loads(kube.kubectl("get", "--raw", f"/api/v1/nodes/{name}/proxy/configz"))["kubeletconfig"]
        assert config["nodeStatusUpdateFrequency"] == "10s"
        assert config["nodeLeaseDurationSeconds"] == 40


def test_a_service_is_found_by_name_and_reached_from_another_node_and_from_its_own() -> None:
    fetch = f"import urllib.request; print(urllib.request.urlopen('http://server.{NAMESPACE}.svc', timeout=5).status)"

    def answers(pod: str) -> bool:
        return kube.kubectl("exec", pod, "-n", NAMESPACE, "--", "python", "-c", fetch, check=False).strip() == "200"

    for pod in ("friend", "stranger", "server"):
        # A node's proxy learns of a new Service some moments after its pods are ready.
        kube.until(lambda pod=pod: answers(pod), f"the Service answering {pod}", 30)


def test_logs_are_read_through_the_api_server() -> None:
    python("friend", "import urllib.request; urllib.request.urlopen('http://server/', timeout=5)")
    assert "GET / HTTP" in kube.kubectl("logs", "server", "-n", NAMESPACE)


def test_a_restricted_worker_pod_imports_torch_under_a_random_user() -> None:
    said = python("friend", "import os, torch; print(os.getuid(), torch.ones(2).sum().item())")
    assert said == f"{RANDOM_UID} 2.0"
    writes = """
import pathlib
for folder in ("/tmp", "/dev/shm", "/", "/usr"):
    try:
        (pathlib.Path(folder) / "probe").write_text("x")
    except OSError:
        print(folder, "refused")
"""
    assert python("friend", writes).split("\n") == ["/ refused", "/usr refused"]


def test_a_pod_of_the_default_runtime_sees_nothing_of_the_machine() -> None:
    pod = worker_pod("bare", "node2")
    del pod["spec"]["runtimeClassName"]
    kube.apply(pod, NAMESPACE)

    def refusal() -> str:
        state = (kube.get("pod", "bare", NAMESPACE) or {})["status"].get("containerStatuses", [{}])[0]
        return json.dumps([state.get("state"), state.get("lastState")])

    # The same image, whose Python is the machine's, has none without the runtime class.
    kube.until(lambda: "not found" in refusal(), "start of the bare pod to be refused", READY_SECONDS)
    kube.kubectl("delete", "pod", "bare", "-n", NAMESPACE, "--wait=false")


def test_the_restricted_standard_is_enforced() -> None:
    pod = worker_pod("root", "node1")
    pod["spec"]["securityContext"] = {"runAsUser": 0}
    with pytest.raises(kube.StageError, match="violates PodSecurity"):
        kube.apply(pod, NAMESPACE)


def test_a_network_policy_refuses_a_foreign_pod_and_lets_an_allowed_one_in() -> None:
    server = f"server.{NAMESPACE}.svc"
    assert reaches("stranger", server)
    assert reaches("foreigner", server, f"{NAMESPACE}-foreign")
    allow = {"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": 8000}]}
    kube.apply(network_policy("guard", "server", {"ingress": [allow]}), NAMESPACE)
    # The stranger sits on the server's own node, the foreigner on another.
    kube.until(lambda: not reaches("stranger", server), "the policy to hold", 10)
    assert not reaches("foreigner", server, f"{NAMESPACE}-foreign")
    assert reaches("friend", server)
    address = (kube.get("pod", "server", NAMESPACE) or {})["status"]["podIP"]
    for url in (f"http://{address}:8000/", *(f"http://{node}:{NODE_PORT}/" for node in node_addresses())):
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200, "the developer's machine is let in"
    for node in node_addresses():
        assert not reaches("stranger", node, port=NODE_PORT), "a node port is no way around a policy"
    kube.kubectl("delete", "networkpolicy", "guard", "-n", NAMESPACE)
    kube.until(lambda: reaches("stranger", server), "the policy to be gone", 10)


def test_a_network_policy_keeps_a_pod_in() -> None:
    dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    names = {"to": [dns], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}
    server = {"to": [{"podSelector": {"matchLabels": {"app": "server"}}}], "ports": [{"port": 8000}]}
    spec = {"policyTypes": ["Egress"], "egress": [names, server]}
    kube.apply(network_policy("fence", "friend", spec), NAMESPACE)
    kube.until(lambda: not reaches("friend", "10.96.0.1", port=443), "the policy to hold", 10)
    assert reaches("friend", f"server.{NAMESPACE}.svc")
    kube.kubectl("delete", "networkpolicy", "fence", "-n", NAMESPACE)


def node_addresses() -> list[str]:
    """Addresses of the nodes."""
    path = "jsonpath={.items[*].status.addresses[?(@.type=='InternalIP')].address}"
    return kube.kubectl("get", "nodes", "-o", path).split()


def network_policy(name: str, app: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A policy for the pods of one app."""
    selector = {"podSelector": {"matchLabels": {"app": app}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {**selector, **spec},
    }


def test_a_pod_that_asks_for_a_gpu_lands_where_there_is_one() -> None:
    install.cluster_tool("gpu", "node3", "1")
    pod = worker_pod("gpu", "")
    del pod["spec"]["nodeName"]
    pod["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    kube.apply([pod, {**pod, "metadata": {"name": "second"}}], NAMESPACE)

    def placed() -> list[str]:
        found = [(kube.get("pod", name, NAMESPACE) or {})["spec"].get("nodeName") for name in ("gpu", "second")]
        return [node for node in found if node]

    assert kube.until(placed, "a place for the GPU pod", READY_SECONDS) == ["node3"]
    kube.kubectl("delete", "pod", "gpu", "second", "-n", NAMESPACE, "--wait=false")
    install.cluster_tool("gpu", "node3", "0")


def test_prometheus_scrapes_annotated_pods() -> None:
    port = os.environ.get("KINEMA_PROMETHEUS_PORT", "9090")

    def scraped() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/targets", timeout=5) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
        labels = [target["labels"] for target in targets]
        return any(label["pod"] == "server" and label["namespace"] == NAMESPACE for label in labels)

    kube.until(scraped, "Prometheus to know the pod", 30)


def test_a_second_up_changes_nothing() -> None:
    def world() -> tuple[dict[str, str], list[str]]:
        records = {path.name: path.read_text() for path in (STATE / "run").glob("*.json")}
        kinds = "deployment,service,configmap,runtimeclass"
        rows = "jsonpath={range .items[*]}{.metadata.uid} {.metadata.generation} {.metadata.managedFields}\n{end}"
        return records, kube.kubectl("get", kinds, "-n", "kube-system", "-o", rows).splitlines()

    before = world()
    install.cluster_tool("up")
    assert world() == before


@pytest.mark.skipif("KINEMA_TEST_TEARDOWN" not in os.environ, reason="KINEMA_TEST_TEARDOWN=1 takes the cluster down")
def test_down_leaves_nothing_behind() -> None:
    before = Path("/proc/mounts").read_text().count("\n")
    install.cluster_tool("down")
    install.cluster_tool("verify-clean")
    assert Path("/proc/mounts").read_text().count("\n") < before
    assert not STATE.exists()
    install.cluster_tool("up")


def test_a_machine_that_may_not_make_namespaces_is_told_so_in_one_sentence() -> None:
    # Root without capabilities, as in a plain container: another user might not even reach the checkout.
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
    environment = {"HOME": "/nonexistent", "KINEMA_CLUSTER": "native", "PATH": "/usr/bin:/bin"}
    tool = str(install.CLUSTER_TOOL)
    done = subprocess.run(
        [*drop, sys.executable, tool, "up"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1

"""Test beds: faults of nodes, network, store and disk, each verified to have taken effect.

A bed is a context manager: the fault lasts for its body and is always undone at the end. On entry it waits for the
direct effect of the fault (a refused connection, a process that is gone, a write that fails), not for Kinema's
reaction, and raises StageError if there is none: a test proves nothing without its fault. All beds need the
development cluster.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import network
from cluster.command import run, succeeds
from kinema_api import layout, names
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.objectstores import open_store
from stage import faults, install, kube, runs

API_PORT = 6443
KUBELET_PORT = 10250
STORE_PORT = 9000
EFFECT_SECONDS = 30.0
DISK_BYTES = "64k"
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"


def prove(seen: Callable[[], object], what: str, seconds: float = EFFECT_SECONDS) -> None:
    """Wait until the effect of a fault is seen.

    Raises:
        StageError: it is not.
    """
    kube.until(seen, f"the effect of a fault: {what}", seconds)


def index_of(node: str) -> int:
    """node2 -> 2."""
    return int(node.removeprefix("node"))


def connects(host: str, port: int, node: str | None = None) -> bool:
    """Whether a TCP connection can be opened, from this machine or from the network namespace of a node."""
    prefix = network.in_namespace(index_of(node)) if node else []
    return succeeds([*prefix, sys.executable, "-c", _CONNECT, host, str(port)])


def pod_of(uid: str) -> dict[str, object]:
    """A pod by its uid."""
    found = json.loads(kube.kubectl("get", "pods", "-A", "-o", "json"))["items"]
    return next(pod for pod in found if pod["metadata"]["uid"] == uid)


# Nodes


@contextmanager
def cut_off_from_api(node: str) -> Iterator[None]:
    """A node that exchanges no packets with the API server, and only with it: kubelet and kube-proxy are on their own.

    Both directions are blocked: otherwise events of open watches would still arrive.
    """
    inside = network.in_namespace(index_of(node))
    there = ["-d", network.HOST_ADDRESS, "-p", "tcp", "--dport", str(API_PORT), "-j", "DROP"]
    back = ["-s", network.HOST_ADDRESS, "-p", "tcp", "--sport", str(API_PORT), "-j", "DROP"]
    rules = [["OUTPUT", *there], ["FORWARD", *there], ["INPUT", *back], ["FORWARD", *back]]
    for rule in rules:
        run([*inside, "iptables", "--wait", "-I", *rule])
    try:
        prove(lambda: not connects(network.HOST_ADDRESS, API_PORT, node), f"{node} does not reach the API server")
        other = network.node_address(index_of(node) % 3 + 1)
        prove(lambda: connects(other, KUBELET_PORT, node), f"{node} still reaches {other}")
        yield
    finally:
        for rule in rules:
            run([*inside, "iptables", "--wait", "-D", *rule])


@contextmanager
def link_down(node: str) -> Iterator[None]:
    """A node without network: its pods keep running but reach no other node."""
    port = f"{network.PREFIX}n{index_of(node)}"
    run(["ip", "link", "set", port, "down"])
    try:
        address = network.node_address(index_of(node))
        prove(lambda: not connects(address, KUBELET_PORT), f"{node} is not reached")
        yield
    finally:
        run(["ip", "link", "set", port, "up"])


@contextmanager
def power_cut(node: str) -> Iterator[None]:
    """A node whose processes (kubelet, containers) all die at once; it starts again at the end."""
    uids = [pod["metadata"]["uid"] for pod in pods_on(node)]
    install.cluster_tool("stop", node)
    try:
        prove(lambda: not any(faults.pod_processes(uid) for uid in uids), f"no process of a pod of {node} is left")
        yield
    finally:
        install.cluster_tool("start", node)


@contextmanager
def drained(node: str) -> Iterator[None]:
    """A node that is drained, as before maintenance, and uncordoned at the end."""
    options = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=150s")
    try:
        kube.kubectl("drain", node, *options, seconds=180)
        prove(lambda: not _workers_on(node), f"no pod of Kinema is left on {node}")
        yield
    finally:
        kube.kubectl("uncordon", node)


def _workers_on(node: str) -> list[str]:
    label, over = names.LABEL_MANAGED_BY, ("Succeeded", "Failed")
    mine = [p for p in pods_on(node) if p["metadata"].get("labels", {}).get(label) == names.MANAGED_BY]
    return [str(pod["metadata"]["name"]) for pod in mine if pod["status"].get("phase") not in over]


def pods_on(node: str) -> list[dict[str, Any]]:
    """Pods that are bound to a node."""
    out = kube.kubectl("get", "pods", "-A", "-o", "json", f"--field-selector=spec.nodeName={node}")
    return list(json.loads(out)["items"])


def ready(node: str) -> bool:
    """Whether Kubernetes reports a node as Ready."""
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return kube.kubectl("get", "node", node, "-o", path).strip() == "True"


def all_ready() -> bool:
    """Whether all nodes are Ready."""
    path = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
    return set(kube.kubectl("get", "nodes", "-o", path).split()) == {"True"}


# Processes


@contextmanager
def paused(pod_uid: str) -> Iterator[None]:
    """A pod whose processes are stopped (SIGSTOP): they neither answer nor close their connections."""
    with faults.paused(pod_uid, 0):
        prove(lambda: all(map(_stopped, faults.pod_processes(pod_uid))), "every process of the pod is stopped")
        yield


def _stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t", "Z", "X")
    except OSError:
        return True


@contextmanager
def api_server_away() -> Iterator[None]:
    """An API server that does not answer."""
    with faults.api_server_away(0):
        prove(lambda: not _api_answers(), "the API server is silent")
        yield


def _api_answers() -> bool:
    said = subprocess.run(
        [kube.tool("kubectl"), "--kubeconfig", kube.kubeconfig(), "get", "--raw", "/version", "--request-timeout=2s"],
        capture_output=True,
        check=False,
    )
    return said.returncode == 0


# Store and disk


def _store_pod() -> str:
    (pod,) = kube.items("pods", install.SYSTEM, "app.kubernetes.io/component=store") or kube.items(
        "pods", install.SYSTEM, "app.kubernetes.io/name=minio"
    )
    return str(pod["metadata"]["uid"])


def _store_answers(seconds: str = "2") -> bool:
    live = "sys.argv[1] + '/minio/health/live', timeout=float(sys.argv[2])"
    script = f"import sys, urllib.request; urllib.request.urlopen({live})"
    return succeeds([sys.executable, "-c", script, install.public_endpoint(), seconds])


@contextmanager
def store_silent() -> Iterator[None]:
    """An object store that accepts connections and does not answer."""
    with paused(_store_pod()):
        prove(lambda: not _store_answers(), "the store is silent")
        yield


@contextmanager
def store_away() -> Iterator[None]:
    """An object store that refuses connections and breaks open ones; its data stay."""
    # The first process is the sandbox's, which must survive.
    inside = ["nsenter", f"--target={min(faults.pod_processes(_store_pod()))}", "--net", "--"]
    rule = ["INPUT", "-p", "tcp", "--dport", str(STORE_PORT), "-j", "REJECT", "--reject-with", "tcp-reset"]
    run([*inside, "iptables", "--wait", "-I", *rule])
    try:
        prove(lambda: not _store_answers(), "the store is away")
        yield
    finally:
        run([*inside, "iptables", "--wait", "-D", *rule])
        prove(_store_answers, "the store is back", 120)


@contextmanager
def disk_full(pod_uid: str) -> Iterator[None]:
    """A pod whose scratch folder is full: a tiny file system is mounted over its folder for staged files."""
    pid = max(faults.pod_processes(pod_uid))
    inside = ["nsenter", f"--target={pid}", "--mount", "--"]
    run([*inside, "mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=1777", "tmpfs", names.SCRATCH_DIR])
    try:
        fill = ["dd", "if=/dev/zero", f"of={names.SCRATCH_DIR}/fill", "bs=1k", "count=1024"]
        prove(lambda: not succeeds([*inside, *fill]), "a write into the scratch folder fails")
        yield
    finally:
        succeeds([*inside, "umount", "-l", names.SCRATCH_DIR])


# Misbehaving clients and operators


@contextmanager
def two_rendezvous(training: str, namespace: str, seconds: float = 60.0) -> Iterator[tuple[str, str]]:
    """Two rendezvous of one attempt: the node of the first is cut off from the API server, and its pod is deleted.

    The uids of both pods.
    """
    selector = f"{names.LABEL_TRAINING}={training},{names.LABEL_COMPONENT}={names.COMPONENT_STORE}"
    first = runs.rendezvous_pod(training, namespace)
    uid = first["metadata"]["uid"]
    before = {pod["metadata"]["uid"] for pod in kube.items("pods", namespace, selector)}
    with cut_off_from_api(first["spec"]["nodeName"]):
        kube.kubectl("delete", "pod", first["metadata"]["name"], "-n", namespace, "--wait=false")

        def second() -> str | None:
            pods = kube.items("pods", namespace, selector)
            others = [p["metadata"]["uid"] for p in pods if p["metadata"]["uid"] not in before]
            return next((other for other in others if faults.pod_processes(other)), None)

        other = kube.until(second, "a second rendezvous", seconds)
        prove(lambda: faults.pod_processes(uid), "the first rendezvous still runs")
        yield uid, other


def forge(training: str, namespace: str) -> list[str]:
    """Forge what a tenant can write: with the trainer's keys a manifest of a checkpoint that does not exist, and in its
    own pods a progress file and a termination message. Returns a description of what was forged."""
    secret = kube.get("secret", names.storage_secret_name(training), namespace) or {}
    keys = StoreCredentials.model_validate_json(base64.b64decode(secret["data"][names.STORAGE_CREDENTIALS_KEY]))
    found = kube.get("vmt", training, namespace) or {}
    run_, attempt = found["status"]["run"], found["status"]["attempt"]
    prefix = layout.attempt_prefix(namespace, training, found["metadata"]["uid"], run_, attempt)
    store = open_store(StoreLocation(endpoint=install.public_endpoint(), bucket=install.BUCKET), keys)
    forged = layout.checkpoint_prefix(prefix, 99_999_999, 1) + layout.MANIFEST
    store.put(forged, b'{"kind": "checkpoint", "files": [], "step": 99999999}', "application/json")
    prove(lambda: install.store().stat(forged), "a forged manifest lies in the bucket")
    pods = kube.items("pods", namespace, f"{names.LABEL_TRAINING}={training},{names.LABEL_COMPONENT}=trainer")
    pod = next(p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running")
    lie = json.dumps({"failureClass": "user_error", "message": "x" * 2000, "step": 10**18})
    script = f"open({names.TERMINATION_LOG!r}, 'w').write({lie!r})"
    kube.kubectl("exec", pod, "-n", namespace, "--", "python", "-c", script)
    progress = '{"run":1,"attempt":1,"round":10000,"rank":0,"worldSize":1,"step":1e300,"totalSteps":-1}'
    script = f"open({names.SCRATCH_DIR + '/progress.json'!r}, 'w').write({progress!r})"
    kube.kubectl("exec", pod, "-n", namespace, "--", "python", "-c", script)
    return [f"{forged}", f"termination message of {pod}", f"progress of {pod}"]


@contextmanager
def second_operator(namespace: str, chart: Path = install.CHART, *values: str) -> Iterator[str]:
    """Another operator, of this or another version (its chart, and values for its image), that watches one namespace
    which the first one sees as well; the namespace that it is installed in."""
    home = f"{namespace}-operator"
    kube.restricted_namespace(home)
    own = {
        "namespaced": "true",
        "watchNamespace": namespace,
        "crds.install": "false",
        "rbac.userRoles": "false",
        "store.endpoint": f"http://minio.{install.SYSTEM}.svc:{STORE_PORT}",
        "store.bucket": install.BUCKET,
        "store.existingSecret": "kinema-store",
    }
    common = [*(part for name, value in own.items() for part in ("--set", f"{name}={value}")), *install.worker_values()]
    try:
        install.helm("upgrade", "--install", "second", str(chart), "-n", home, "--wait", *common, *values)
        prove(lambda: kube.get("lease", "kinema-operator", home), "a second operator leads")
        yield home
    finally:
        kube.kubectl("delete", "namespace", home, "--ignore-not-found", seconds=200)


def hold(seconds: float) -> None:
    """Sleep: the duration of a fault is part of the test, so there is no condition to wait for."""
    time.sleep(seconds)


def require_root() -> None:
    """Check for root, which entering the namespaces of nodes and pods needs.

    Raises:
        StageError: this process is not root.
    """
    if os.geteuid() != 0:
        raise kube.StageError("test beds reach into the nodes' namespaces: run as root")

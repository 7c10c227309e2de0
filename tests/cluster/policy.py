"""Enforces NetworkPolicies on the nodes: watches pods, namespaces and policies, writes each node's iptables.

The plain bridge plugin that connects the pods knows nothing of policies. One process of the machine serves all
nodes, entering the network namespace of each.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import network
from .errors import ApiError
from .kubeapi import KubeApi
from .policy_rules import HOOK, World, compile_node, endpoint_of

PATHS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}
SETTLE_SECONDS = 0.05
RETRY_SECONDS = 1.0
# kube-proxy puts its own rules first whenever it starts; ours are looked after this often.
REVIEW_SECONDS = 5.0
HOOKED_CHAINS = ("FORWARD", "INPUT")
HOOK_COMMENT = "kinema-cluster"


class ObjectStore:
    """Mirror of the objects of one list-and-watch; replaced whole by every list, so nothing dead stays."""

    def __init__(self, api: KubeApi, path: str, changed: threading.Event) -> None:
        self._api, self._path, self._changed = api, path, changed
        self._objects: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.listed = threading.Event()

    def objects(self) -> list[dict[str, Any]]:
        """All objects as of now."""
        with self._lock:
            return list(self._objects.values())

    def follow(self) -> None:
        """List and watch for ever."""
        while True:
            try:
                version = self._list()
                for event in self._api.watch(self._path, version):
                    self._take(event)
            except (ApiError, OSError, http.client.HTTPException, ValueError) as error:
                print(f"{self._path}: {error}; listing again", flush=True)
                time.sleep(RETRY_SECONDS)

    def _list(self) -> str:
        answer = self._api.request("GET", self._path)
        with self._lock:
            self._objects = {item["metadata"]["uid"]: item for item in answer["items"]}
        self.listed.set()
        self._changed.set()
        return str(answer["metadata"]["resourceVersion"])

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "BOOKMARK":
            return
        uid = event["object"]["metadata"]["uid"]
        with self._lock:
            if event["type"] == "DELETED":
                self._objects.pop(uid, None)
            else:
                self._objects[uid] = event["object"]
        self._changed.set()


class NodeTables:
    """The policy chains of one node's network namespace."""

    def __init__(self, index: int) -> None:
        self.name = f"node{index}"
        self._enter = network.in_namespace(index)
        self._written: dict[str, list[str]] | None = None

    def write(self, chains: dict[str, list[str]]) -> None:
        """Replace the chains in one transaction, if they differ from what was written last."""
        if chains != self._written:
            self._restore(chains)
            self._written = chains
        self._hook_first()

    def _restore(self, chains: dict[str, list[str]]) -> None:
        present = set(re.findall(r"^-N (KINEMA-\S+)", self._iptables("-S"), re.MULTILINE))
        lines = ["*filter"]
        # Naming a chain empties it, so that rules of a pod that is gone hold no reference either.
        lines += [f":{name} - [0:0]" for name in sorted(present | chains.keys())]
        lines += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
        lines += [f"-X {name}" for name in sorted(present - chains.keys())]
        lines += ["COMMIT", ""]
        command = [*self._enter, "iptables-restore", "--wait", "--noflush"]
        subprocess.run(command, input="\n".join(lines), text=True, check=True, capture_output=True)

    def _hook_first(self) -> None:
        """Policies come before kube-proxy's rules, which accept some traffic for good."""
        for chain in HOOKED_CHAINS:
            rule = ["-m", "comment", "--comment", HOOK_COMMENT, "-j", HOOK]
            rules = [line for line in self._iptables("-S", chain).splitlines() if line.startswith("-A")]
            if rules and rules[0].endswith(f"-j {HOOK}"):
                continue
            self._iptables("-I", chain, "1", *rule)
            for _ in range(sum(line.endswith(f"-j {HOOK}") for line in rules)):
                # Inserting the new one first leaves no moment without any.
                position = self._last_position(chain)
                self._iptables("-D", chain, str(position))

    def _last_position(self, chain: str) -> int:
        rules = [line for line in self._iptables("-S", chain).splitlines() if line.startswith("-A")]
        return max(number for number, line in enumerate(rules, 1) if line.endswith(f"-j {HOOK}"))

    def _iptables(self, *arguments: str) -> str:
        command = [*self._enter, "iptables", "--wait", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def enforce(kubeconfig: Path, nodes: int) -> None:
    """Follow the cluster and keep every node's rules right, for ever."""
    api, changed = KubeApi(kubeconfig), threading.Event()
    stores = {name: ObjectStore(api, path, changed) for name, path in PATHS.items()}
    for store in stores.values():
        threading.Thread(target=store.follow, daemon=True).start()
    for store in stores.values():
        # Rules made of half the objects would refuse what they should let pass.
        store.listed.wait()
    tables = [NodeTables(index) for index in range(1, nodes + 1)]
    while True:
        changed.wait(REVIEW_SECONDS)
        # Changes come in bursts; one rewrite serves them all.
        time.sleep(SETTLE_SECONDS)
        changed.clear()
        _write_all(tables, _world(stores))


def _world(stores: dict[str, ObjectStore]) -> World:
    endpoints = [endpoint for pod in stores["pods"].objects() if (endpoint := endpoint_of(pod))]
    namespaces = {
        item["metadata"]["name"]: item["metadata"].get("labels", {})
        for item in stores["namespaces"].objects()
    }
    return World(endpoints, namespaces, stores["policies"].objects())


def _write_all(tables: Sequence[NodeTables], world: World) -> None:
    for table in tables:
        try:
            table.write(compile_node(world, table.name, trusted=[network.HOST_ADDRESS]))
        except subprocess.CalledProcessError as error:
            print(f"{table.name}: {error} {error.stderr}; trying again", flush=True)

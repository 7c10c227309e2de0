"""The process that follows the cluster: enforces policies, lists scrape targets, keeps extended resources."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path

from . import network
from .errors import ApiError
from .extended import ExtendedResources
from .kubeapi import KubeApi
from .mirror import Mirror, follow_all
from .monitoring import scrape_targets
from .policy import NodeTables
from .policy_rules import World, compile_node, endpoint_of

PATHS = {
    "pods": "/api/v1/pods",
    "nodes": "/api/v1/nodes",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}
SETTLE_SECONDS = 0.05
# kube-proxy puts its own rules first whenever it starts; the order is looked after this often.
REVIEW_SECONDS = 5.0


class Agent:
    """Brings the machine's side of the cluster in line with its objects, again and again."""

    def __init__(self, kubeconfig: Path, state: Path, nodes: int, targets: Path) -> None:
        self._api = KubeApi(kubeconfig)
        self._tables = [NodeTables(index) for index in range(1, nodes + 1)]
        self._resources = ExtendedResources(state)
        self._targets = targets

    def run(self) -> None:
        """Follow the cluster for ever."""
        changed = threading.Event()
        # Rules made of half the objects would refuse what they should let pass, so all are listed first.
        mirrors = follow_all(self._api, PATHS, changed)
        while True:
            changed.wait(REVIEW_SECONDS)
            # Changes come in bursts; one rewrite serves them all.
            time.sleep(SETTLE_SECONDS)
            changed.clear()
            self._enforce(mirrors)
            self._list_targets(mirrors["pods"])
            self._advertise(mirrors["nodes"])

    def _enforce(self, mirrors: dict[str, Mirror]) -> None:
        endpoints = [endpoint for pod in mirrors["pods"].objects() if (endpoint := endpoint_of(pod))]
        namespaces = {
            item["metadata"]["name"]: item["metadata"].get("labels", {}) for item in mirrors["namespaces"].objects()
        }
        world = World(endpoints, namespaces, mirrors["policies"].objects())
        for table in self._tables:
            try:
                table.write(compile_node(world, table.name, trusted=[network.NODE_RANGE]))
            except subprocess.CalledProcessError as error:
                print(f"{table.name}: {error} {error.stderr}; trying again", flush=True)

    def _list_targets(self, pods: Mirror) -> None:
        text = json.dumps(scrape_targets(pods.objects()), indent=1)
        if not self._targets.exists() or self._targets.read_text() != text:
            partial = self._targets.with_suffix(".partial")
            partial.write_text(text)
            partial.rename(self._targets)

    def _advertise(self, nodes: Mirror) -> None:
        try:
            self._resources.advertise(self._api, nodes.objects())
        except (ApiError, OSError) as error:
            print(f"extended resources: {error}; trying again", flush=True)

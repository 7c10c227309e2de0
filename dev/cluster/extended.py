"""Extended resources without hardware: a node says that it has GPUs, so that scheduling can be tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import ClusterError
from .kubeapi import KubeApi

GPU = "nvidia.com/gpu"
STATUS_PATCH = "application/strategic-merge-patch+json"


class ExtendedResources:
    """What nodes shall advertise, in a file; a kubelet that restarts forgets it and is told again."""

    def __init__(self, state: Path) -> None:
        self._path = state / "extended-resources.json"

    def wanted(self) -> dict[str, dict[str, int]]:
        """Node -> resource -> count."""
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def want(self, node: str, resource: str, count: int) -> None:
        """Write down that `node` shall advertise `count` of `resource`."""
        everything = self.wanted()
        everything.setdefault(node, {})[resource] = count
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(everything))
        partial.rename(self._path)

    def advertise(self, api: KubeApi, nodes: list[dict[str, Any]]) -> None:
        """Patch the status of those `nodes` (Node objects) that say something else."""
        wanted = self.wanted()
        for node in nodes:
            name = node["metadata"]["name"]
            resources = {resource: str(count) for resource, count in wanted.get(name, {}).items()}
            held = node["status"].get("capacity", {})
            if any(held.get(resource, "0") != count for resource, count in resources.items()):
                body = {"status": {"capacity": resources, "allocatable": resources}}
                api.request("PATCH", f"/api/v1/nodes/{name}/status", body, STATUS_PATCH)


def advertise_gpus(state: Path, api: KubeApi, node: str, count: int) -> None:
    """Let `node` advertise `count` GPUs from now on.

    Raises:
        ClusterError: no such node.
    """
    nodes = [item for item in api.request("GET", "/api/v1/nodes")["items"] if item["metadata"]["name"] == node]
    if not nodes:
        raise ClusterError(f"There is no node {node!r}; see `kubectl get nodes`.")
    resources = ExtendedResources(state)
    resources.want(node, GPU, count)
    resources.advertise(api, nodes)

"""Two operators behind their Service, and a namespace with a clip that somebody with few rights asks for."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from integration.kubectl import Kubectl
from integration.operators import Replica
from integration.server import until
from kinema_api import links
from kinema_api.objectstore import ObjectStore
from kinema_cli.main import main

NAME = "red-square"
POD = "kinema-operator-0"
PATIENCE_SECONDS = 90.0


def machine_address() -> str:
    """An address of this machine that is not loopback: the API server's proxy goes to no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback, where the API server's proxy does not go")
        return str(probe.getsockname()[0])


def operators_pod() -> dict[str, Any]:
    """A pod with this machine's address: the proxy goes to addresses of pods alone."""
    containers = [{"name": "operator", "image": "none"}]
    metadata = {"name": POD}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


def namespaces(admin: Kubectl, *prefixes: str) -> list[str]:
    made = [f"{prefix}-{uuid.uuid4().hex[:8]}" for prefix in prefixes]
    for name in made:
        admin("create", "namespace", name)
        admin("create", "serviceaccount", "default", "-n", name)
    return made


@dataclass
class Install:
    """Two replicas of the operator behind the Service, and the namespace that they watch, with a clip."""

    admin: Kubectl
    system: str
    namespace: str
    replicas: list[Replica]
    logs: list[Path]
    store: ObjectStore

    def route_to(self, *replicas: Replica) -> None:
        """What Kubernetes does about replicas that are ready. The API server's proxy reads one of the two kinds."""
        address = machine_address()
        subsets, slices = [], []
        for number, one in enumerate(replicas):
            ports = [{"name": links.PORT_NAME, "port": one.links_port, "protocol": "TCP"}]
            target = {"kind": "Pod", "name": POD, "namespace": self.system}
            subsets.append({"addresses": [{"ip": address, "targetRef": target}], "ports": ports})
            slices.append(
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": f"{links.SERVICE}-{number}",
                        "labels": {"kubernetes.io/service-name": links.SERVICE},
                    },
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": [address], "conditions": {"ready": True}, "targetRef": target}],
                    "ports": ports,
                }
            )
        self.admin("delete", "endpointslices,endpoints", "--all", "-n", self.system)
        endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": links.SERVICE}, "subsets": subsets}
        manifests = json.dumps({"apiVersion": "v1", "kind": "List", "items": [endpoints, *slices]})
        self.admin("apply", "-n", self.system, "-f", "-", stdin=manifests)

    def leading(self) -> Replica:
        async def leader() -> Replica | None:
            leaders = [one for one in self.replicas if await one.leads()]
            return leaders[0] if leaders else None

        found = asyncio.run(until(leader, "one of them leads", PATIENCE_SECONDS))
        assert isinstance(found, Replica)
        return found


@dataclass
class Studio:
    """The clip's namespace, and somebody who may edit there and nowhere else."""

    install: Install
    kubeconfig: Path
    folder: Path

    @property
    def namespace(self) -> str:
        return self.install.namespace

    def kinema(self, *arguments: str, system: str | None = None) -> Result:
        where = ["--kubeconfig", str(self.kubeconfig), "--operator-namespace", system or self.install.system]
        return CliRunner().invoke(main, [*arguments, *where])

    def kinema_without_operator(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--kubeconfig", str(self.kubeconfig)])

    def download(self, *arguments: str, system: str | None = None) -> Result:
        out = str(self.folder / "clip.mp4")
        return self.kinema("download", NAME, "-n", self.namespace, "--out", out, *arguments, system=system)

    def token_file(self, audience: str, namespace: str | None = None) -> Path:
        made = self.install.admin(
            "create", "token", "default", "-n", namespace or self.namespace, "--audience", audience
        )
        file = self.folder / "token"
        file.write_text(made)
        return file

    @property
    def clip(self) -> bytes:
        return (self.folder / "clip.mp4").read_bytes()

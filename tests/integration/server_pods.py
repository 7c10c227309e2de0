"""Plays Deployment controller and kubelet for server pods: every Pod object gets a real process of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from kinema_api import names
from kinema_operator.core.resources import ref_to
from kinema_operator.shell.client import Client

LOOK_SECONDS = 0.1
_hosts = itertools.count(1)


class ServerPods:
    """The pods of one namespace. A pod's containers listen on a loopback address of their own."""

    def __init__(self, client: Client, namespace: str, folder: Path) -> None:
        self._client = client
        self._namespace = namespace
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        """By uid of the pod, pods that are gone included."""
        self.addresses: dict[str, str] = {}
        self._ready: set[str] = set()

    async def run(self) -> None:
        """Bring the pods to what the Deployments say, for ever."""
        while True:
            deployments, _ = await self._client.list_all("Deployment", self._namespace)
            pods = await self._pods()
            for deployment in deployments:
                await self._bring(deployment, pods)
            await asyncio.sleep(LOOK_SECONDS)

    async def _pods(self) -> list[dict[str, Any]]:
        pods, _ = await self._client.list_all("Pod", self._namespace)
        return [{**pod, "kind": "Pod"} for pod in pods]

    async def _bring(self, deployment: dict[str, Any], pods: list[dict[str, Any]]) -> None:
        digest = deployment["metadata"]["labels"][names.LABEL_DIGEST]
        own = [pod for pod in pods if pod["metadata"]["labels"][names.LABEL_DIGEST] == digest]
        wanted = deployment["spec"]["replicas"]
        for _ in range(len(own), wanted):
            await self._start(deployment)
        for pod in own[wanted:]:
            await self._client.delete(ref_to(pod))
            self.processes[pod["metadata"]["uid"]].terminate()
        for pod in own[:wanted]:
            await self._probe(pod)

    async def _start(self, deployment: dict[str, Any]) -> None:
        template = deployment["spec"]["template"]
        replica_set = f"{deployment['metadata']['name']}-7d9f"
        metadata = {
            "generateName": f"{replica_set}-",
            "namespace": self._namespace,
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "uid": "rs", "controller": True}
            ],
            "labels": template["metadata"]["labels"],
        }
        # The Pod is made of the template as it is, so the API server has judged every field of it.
        pod = await self._client.post(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        )
        self.processes[pod["metadata"]["uid"]] = self._run(pod)

    def _run(self, pod: dict[str, Any]) -> subprocess.Popen[bytes]:
        uid, (container,) = pod["metadata"]["uid"], pod["spec"]["containers"]
        self.addresses[uid] = f"127.88.{os.getpid() % 250}.{next(_hosts)}"
        scratch = self._folder / uid
        scratch.mkdir()
        environment = {
            **os.environ,
            **{v["name"]: v.get("value") or _field(pod, v) for v in container["env"]},
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "KINEMA_SERVER_HOST": self.addresses[uid],
            "KINEMA_SERVER_CACHE_DIR": str(scratch / "models"),
        }
        command = [sys.executable, *container["command"][1:], *container["args"]]
        with (scratch / "log").open("wb") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    async def _probe(self, pod: dict[str, Any]) -> None:
        """Readiness: the pod has an address, and its server answers."""
        uid = pod["metadata"]["uid"]
        if uid in self._ready or not await self._healthy(self.addresses[uid]):
            return
        status = {
            "phase": "Running",
            "podIP": self.addresses[uid],
            "podIPs": [{"ip": self.addresses[uid]}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        await self._client.patch_status(ref_to(pod), status, pod["metadata"]["resourceVersion"])
        self._ready.add(uid)

    async def _healthy(self, address: str) -> bool:
        try:
            async with aiohttp.request("GET", f"http://{address}:{names.SERVER_PORT}/healthz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def lose(self, uid: str) -> None:
        """The pod is gone with its process, as after the loss of its node."""
        self.processes[uid].kill()
        pods = await self._pods()
        for pod in pods:
            if pod["metadata"]["uid"] == uid:
                await self._client.delete(ref_to(pod))

    def end(self) -> None:
        """No process outlives the test."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(30)


def _field(pod: dict[str, Any], variable: dict[str, Any]) -> str:
    """A variable by the downward API."""
    value: Any = pod
    for part in variable["valueFrom"]["fieldRef"]["fieldPath"].split("."):
        value = value[part]
    return str(value)


@asynccontextmanager
async def server_pods(client: Client, namespace: str, folder: Path) -> AsyncIterator[ServerPods]:
    """Pods for as long as the context lasts."""
    pods = ServerPods(client, namespace, folder)
    running = asyncio.create_task(pods.run())
    try:
        yield pods
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        pods.end()

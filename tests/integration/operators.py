"""Replicas of the operator as processes, against the test's API server and within the test's namespace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from cluster.ports import free_ports

ATTEMPTS = (str(Path(__file__).with_name("attempts_operator.py")),)
"""The shell around a small controller of the tests' own."""
KINEMA = ("-m", "kinema_operator")
"""The operator itself."""
REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("operator", "model", "jobs", "dev", "tests")


class Replica:
    """One process."""

    def __init__(
        self, kubeconfig: Path, namespace: str, log: Path, program: Sequence[str] = ATTEMPTS, **settings: Any
    ) -> None:
        self.health_port, self.metrics_port, self.links_port = free_ports(3)
        self.log = log
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(REPOSITORY / source) for source in SOURCES),
            "KUBECONFIG": str(kubeconfig),
            "KINEMA_WATCH_NAMESPACE": namespace,
            "KINEMA_POD_NAMESPACE": namespace,
            "KINEMA_IDENTITY": log.stem,
            "KINEMA_HEALTH_PORT": str(self.health_port),
            "KINEMA_METRICS_PORT": str(self.metrics_port),
            "KINEMA_LINKS_PORT": str(self.links_port),
            **{f"KINEMA_{name.upper()}": str(value) for name, value in settings.items()},
        }
        with log.open("ab") as output:
            self.process = subprocess.Popen([sys.executable, *program], env=environment, stdout=output, stderr=output)

    async def probe(self, path: str) -> int:
        """HTTP status of a probe; 0 if nobody answers."""
        try:
            async with aiohttp.request("GET", f"http://127.0.0.1:{self.health_port}{path}") as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def metrics(self) -> dict[str, float]:
        """All samples; empty if nobody answers."""
        try:
            async with aiohttp.request("GET", f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
                lines = (await answer.text()).splitlines()
        except aiohttp.ClientError:
            return {}
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def leads(self) -> bool:
        """Whether this replica says that it leads."""
        return (await self.metrics()).get("kinema_operator_leader") == 1.0

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def replica(
    kubeconfig: Path, namespace: str, log: Path, program: Sequence[str] = ATTEMPTS, **settings: Any
) -> Iterator[Replica]:
    """A replica for as long as the context lasts; on a failure its log is shown."""
    running = Replica(kubeconfig, namespace, log, program, **settings)
    try:
        yield running
    except BaseException:
        print(f"--- {log.name}\n{log.read_text()[-4000:]}")
        raise
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait(30)

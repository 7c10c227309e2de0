"""Fixtures that several suites share: real servers on loopback, never stand-ins."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cluster.ports import free_port
from examples import examples

# A busy machine is slow at everything: how long an example takes says nothing about the code.
settings.register_profile(
    "kinema", deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kinema")

# Stores of tests are on loopback, each on a port of its own.
os.environ.setdefault("KINEMA_ALLOWED_STORES", '["http://127.0.0.1:*"]')

# Workers of pytest-xdist share the cores: each, and each process that its tests start, takes one thread for torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

CLUSTER_TOOL = Path(__file__).resolve().parents[1] / "dev" / "cluster"


def binary(name: str) -> Path:
    """A server binary built by the cluster tool; built now if it is not there."""
    folder = Path.home() / ".cache/kinema/bin"
    found = sorted(folder.glob(f"{name}-*"))
    if not found:
        subprocess.run([sys.executable, str(CLUSTER_TOOL), "build", name], check=True)
        found = sorted(folder.glob(f"{name}-*"))
    return found[-1]


def wait_for_http(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Return once `url` answers 200; fail when the process ends or the time is up."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"{url} did not answer within {seconds} s")


@pytest.fixture(scope="session")
def minio_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MinIO on loopback; keys kinema-test / kinema-test-secret."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("minio")
    env = {**os.environ, "MINIO_ROOT_USER": "kinema-test", "MINIO_ROOT_PASSWORD": "kinema-test-secret"}
    server = subprocess.Popen(
        [str(binary("minio")), "server", "--address", f"127.0.0.1:{port}", str(folder)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_http(f"{endpoint}/minio/health/cluster", server)  # live answers before requests are taken
        yield endpoint
    finally:
        server.terminate()
        server.wait(10)

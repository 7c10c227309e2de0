"""Kinema on the development cluster, and what every end-to-end suite needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stage import install, kube, objects, runs

RUN_SECONDS = 600.0
GONE_SECONDS = 180.0
PUBLISHED_STEPS = 40
_ended: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def kinema() -> Iterator[None]:
    """The cluster is up and Kinema installed in it, from this checkout; no namespace outlives its deletion."""
    install.cluster_tool("up")
    install.install()
    yield
    for name in _ended:
        kube.until(lambda name=name: not _namespace_is_there(name), f"the end of namespace {name}", GONE_SECONDS)


@pytest.fixture(scope="module")
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the module's own that enforces the restricted standard; gone afterwards."""
    name = "e2e-" + request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")
    kube.kubectl("delete", "namespace", name, "--ignore-not-found", seconds=200)
    kube.restricted_namespace(name)
    yield name
    end_namespace(name)


def end_namespace(name: str) -> None:
    """Delete a namespace with whatever runs in it. The next tests need not wait until it is gone: `kinema` does."""
    kube.kubectl("delete", "namespace", name, "--wait=false")
    _ended.append(name)


def _namespace_is_there(name: str) -> bool:
    return bool(kube.kubectl("get", "namespace", name, "-o", "name", "--ignore-not-found").strip())


def training(name: str, steps: int, **spec: Any) -> dict[str, Any]:
    """A training of the tiny model on two nodes of at most three, published under its own name."""
    usual = {"elastic": {"minNodes": 1, "maxNodes": 3}, "publish": {"model": name}}
    return objects.tiny_training(name, steps, learning_rate=3e-3, **(usual | spec))


def finished(name: str, namespace: str, phase: str = "Succeeded", seconds: float = RUN_SECONDS) -> dict[str, Any]:
    """The status of a training once it has ended as `phase`; fails at once if it ends otherwise."""

    def check() -> dict[str, Any] | None:
        status = runs.training_status(name, namespace)
        if status.get("phase") in ("Succeeded", "Failed") and status["phase"] != phase:
            pytest.fail(runs.explain("vmt", name, namespace))
        return status if status.get("phase") == phase else None

    return kube.until(check, f"{phase} of {name}", seconds)


@pytest.fixture(scope="session")
def published() -> Iterator[tuple[str, str]]:
    """(namespace, name) of a model and of the short training of that name that has published it.

    It draws nothing sensible, and need not.
    """
    namespace, name = "e2e-model", "short"
    kube.restricted_namespace(namespace)
    install.let_download(namespace)
    kube.apply(training(name, PUBLISHED_STEPS), namespace)
    finished(name, namespace)
    yield namespace, name
    end_namespace(namespace)


@pytest.fixture(scope="session")
def foreign_reach() -> Iterator[Any]:
    """A function that says whether a pod of another namespace can open a TCP connection."""
    namespace, name = "e2e-foreign", "stranger"
    kube.restricted_namespace(namespace)
    kube.apply(_stranger(name), namespace)
    kube.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", namespace, "--timeout=60s")

    def reach(address: str, port: int) -> bool:
        script = f"import socket; socket.create_connection(('{address}', {port}), timeout=3)"
        answer = kube.kubectl(
            "exec", name, "-n", namespace, "--", "python3", "-c", script + "; print('open')", check=False
        )
        return "open" in answer

    yield reach
    end_namespace(namespace)


def _stranger(name: str) -> dict[str, Any]:
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "c",
        "image": "localhost/kinema/control-plane:dev",
        "command": ["python3", "-c", "import time; time.sleep(86400)"],
        "securityContext": security,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0},
    }

"""Talks to the cluster as a person does: through kubectl. Used by the demo, the end-to-end tests and the benchmarks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cluster.settings import Settings

T = TypeVar("T")
POLL_SECONDS = 0.5


class StageError(Exception):
    """The cluster did not reach a state in time; the message contains the last observation."""


def kubeconfig() -> str:
    """The kubeconfig in use: KUBECONFIG's if KINEMA_CLUSTER=kubeconfig, else that of the development cluster."""
    if os.environ.get("KINEMA_CLUSTER") == "kubeconfig":
        return os.environ["KUBECONFIG"]
    return str(Settings.from_environment().kubeconfig)


def tool(name: str) -> str:
    """A program of the project's environment, else of the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise StageError(f"{name} is missing; run `make check` once to set the environment up")
    return found


def kubectl(*args: str, stdin: str | None = None, check: bool = True, seconds: float = 120) -> str:
    """Output of a kubectl command.

    Raises:
        StageError: it fails and `check` is set; the message is kubectl's.
    """
    done = subprocess.run(
        [tool("kubectl"), "--kubeconfig", kubeconfig(), *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if check and done.returncode:
        raise StageError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr


def download(name: str, namespace: str, field: str, path: Path) -> Path:
    """Fetch a file of a generation (video, thumbnail, spritesheet) with `kinema download`, which checks its digest.

    Needs the rights of `install.let_download` or manifests/samples/download.yaml.

    Raises:
        StageError: the command failed; the message is its own.
    """
    where = ["--kubeconfig", kubeconfig(), "-n", namespace]
    done = subprocess.run(
        [tool("kinema"), "download", name, "--file", field, "--out", str(path), *where],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise StageError(f"kinema download {name}: {done.stderr.strip()}")
    return path


def get(kind: str, name: str, namespace: str) -> dict[str, Any] | None:
    """One object, or None when it does not exist."""
    out = kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
    return json.loads(out) if out.strip() else None


def items(kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
    """All objects of a kind in a namespace that match a label selector."""
    args = ["get", kind, "-n", namespace, "-o", "json"]
    return list(json.loads(kubectl(*args, *(["-l", selector] if selector else [])))["items"])


def apply(manifest: dict[str, Any] | list[dict[str, Any]], namespace: str) -> None:
    """Server-side apply, as `kubectl apply --server-side`."""
    objects = manifest if isinstance(manifest, list) else [manifest]
    listing = {"apiVersion": "v1", "kind": "List", "items": objects}
    kubectl("apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-", stdin=json.dumps(listing))


def restricted_namespace(name: str) -> None:
    """A namespace that enforces the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    metadata = {"name": name, "labels": labels}
    kubectl(
        "apply",
        "--server-side",
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}),
    )


def until(condition: Callable[[], T | None], what: str, seconds: float, poll: float = POLL_SECONDS) -> T:
    """The first truthy answer of `condition`.

    Raises:
        StageError: naming `what`, when the time is up.
    """
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise StageError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(poll)

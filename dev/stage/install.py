"""Installs Kinema on the cluster as a platform team would: images, then the Helm chart."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from minio import Minio

from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_api.objectstores import open_store
from stage import kube

REPOSITORY = Path(__file__).resolve().parents[2]
CLUSTER_TOOL = REPOSITORY / "dev" / "cluster"
CHART = REPOSITORY / "charts" / "kinema"
SYSTEM = "kinema-system"
RELEASE = "kinema"
PUBLIC_PORT = 30900
BUCKET = "kinema"


def cluster_tool(*args: str, capture: bool = False) -> str:
    """Run the cluster tool; its progress goes to the terminal."""
    done = subprocess.run(
        [sys.executable, str(CLUSTER_TOOL), *args],
        check=False,
        text=True,
        stdout=subprocess.PIPE if capture else None,
    )
    if done.returncode:
        raise kube.StageError(f"the cluster tool ended with {done.returncode}; its last lines say why")
    return done.stdout or ""


def control_plane_image() -> tuple[Path, str]:
    """Build the control-plane image if needed; returns the archive's path and a digest of its sources."""
    out = subprocess.run(
        [sys.executable, str(REPOSITORY / "images" / "build.py")], check=True, text=True, stdout=subprocess.PIPE
    ).stdout
    archive = Path(out.strip().splitlines()[-1])
    return archive, str(json.loads(archive.with_suffix(".json").read_text())["content"])


def helm(*args: str) -> str:
    """Run Helm against the cluster."""
    binary = cluster_tool("path", "helm", capture=True).strip()
    done = subprocess.run(
        [binary, "--kubeconfig", kube.kubeconfig(), *args], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise kube.StageError(f"helm {args[0]}: {done.stderr.strip()}")
    return done.stdout


def public_endpoint() -> str:
    """URL of MinIO from outside the cluster network: a node's address and the chart's node port."""
    nodes = json.loads(kube.kubectl("get", "nodes", "-o", "json"))["items"]
    address = next(a["address"] for a in nodes[0]["status"]["addresses"] if a["type"] == "InternalIP")
    return f"http://{address}:{PUBLIC_PORT}"


def worker_values() -> list[str]:
    """The worker image of this cluster."""
    if os.environ.get("KINEMA_CLUSTER") == "kubeconfig":
        return []
    image, runtime = "worker.image=localhost/kinema/worker-host:dev", "worker.runtimeClassName=kinema-host-python"
    return ["--set", image, "--set", runtime]


def upgrade(content: str, *extra: str) -> None:
    """`helm upgrade --install --wait`, with the values for this cluster and an image of this content."""
    values = [
        "--set",
        f"store.publicEndpoint={public_endpoint()}",
        "--set",
        "minio.enabled=true",
        "--set",
        f"minio.nodePort={PUBLIC_PORT}",
        # A rebuilt image keeps its name; the digest of its content restarts the operator.
        "--set-string",
        f"operator.podAnnotations.image={content}",
        *worker_values(),
    ]
    helm(
        "upgrade",
        "--install",
        RELEASE,
        str(CHART),
        "-n",
        SYSTEM,
        "--wait",
        "--timeout",
        "5m",
        *values,
        *extra,
    )


def install() -> None:
    """Images and chart, in a namespace that enforces the restricted standard."""
    archive, content = control_plane_image()
    cluster_tool("load", str(archive))
    kube.restricted_namespace(SYSTEM)
    upgrade(content)


def let_download(namespace: str) -> None:
    """Let the namespace's default service account ask for its clips, as README shows."""
    kube.kubectl("apply", "-n", namespace, "-f", str(REPOSITORY / "manifests" / "samples" / "download.yaml"))


def store_keys() -> StoreCredentials:
    """The administrator's keys to the chart's own MinIO."""
    secret = kube.get("secret", f"{RELEASE}-store", SYSTEM) or {}
    return StoreCredentials.model_validate_json(base64.b64decode(secret["data"]["credentials.json"]))


def store(bucket: str = BUCKET) -> ObjectStore:
    """The chart's object store as its administrator sees it, from outside the cluster."""
    return open_store(StoreLocation(endpoint=public_endpoint(), bucket=bucket), store_keys())


def make_bucket(name: str) -> None:
    """Create a bucket, if it is not there, in the chart's object store."""
    keys = store_keys()
    endpoint = urlsplit(public_endpoint())
    client = Minio(endpoint.netloc, keys.access_key, keys.secret_key, secure=endpoint.scheme == "https")
    if not client.bucket_exists(bucket_name=name):
        client.make_bucket(bucket_name=name)

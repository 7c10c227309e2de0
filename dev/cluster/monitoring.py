"""Prometheus as a process of the machine; it scrapes every pod that asks for it by annotation.

Debian builds Prometheus without its Kubernetes discovery, so the targets come from a file that the cluster's
agent keeps, which Prometheus watches.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from .process import Daemons

SCRAPE_INTERVAL = "5s"
RETENTION = "2d"
ANNOTATION = "prometheus.io"
OWN_LABELS = "kinema.dev/"
ENDED = ("Succeeded", "Failed")


def targets_path(state: Path) -> Path:
    """The file of targets."""
    return state / "prometheus" / "targets.json"


def scrape_targets(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Target groups for the pods annotated prometheus.io/scrape: "true", with port and path.

    Labels: `namespace`, `pod`, `node`, and the pod's labels below kinema.dev/ as kinema_dev_*.
    """
    groups = [group for pod in pods if (group := _target(pod))]
    return sorted(groups, key=lambda group: (group["labels"]["namespace"], group["labels"]["pod"]))


def _target(pod: dict[str, Any]) -> dict[str, Any] | None:
    metadata, status = pod["metadata"], pod.get("status", {})
    notes = metadata.get("annotations") or {}
    address, port = status.get("podIP"), notes.get(f"{ANNOTATION}/port")
    asked = notes.get(f"{ANNOTATION}/scrape") == "true" and port
    if not asked or not address or status.get("phase") in ENDED:
        return None
    labels = {
        re.sub(r"[^a-zA-Z0-9_]", "_", key): value
        for key, value in (metadata.get("labels") or {}).items()
        if key.startswith(OWN_LABELS)
    }
    labels["namespace"], labels["pod"] = metadata["namespace"], metadata["name"]
    labels["node"] = pod["spec"].get("nodeName", "")
    labels["__metrics_path__"] = notes.get(f"{ANNOTATION}/path", "/metrics")
    return {"targets": [f"{address}:{port}"], "labels": labels}


def configuration(state: Path) -> dict[str, Any]:
    """Prometheus' configuration."""
    pods = {"job_name": "pods", "file_sd_configs": [{"files": [str(targets_path(state))]}]}
    interval = {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL}
    return {"global": interval, "scrape_configs": [pods]}


def start_prometheus(state: Path, daemons: Daemons, port: int) -> bool:
    """Start Prometheus on 127.0.0.1:`port` unless it runs; return whether it was started."""
    folder = targets_path(state).parent
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(configuration(state), indent=1))
    argv: list[str | Path] = [
        shutil.which("prometheus") or "prometheus",
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    return daemons.start("prometheus", argv)

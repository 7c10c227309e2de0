"""Prometheus as a process of the machine; it scrapes every pod that asks for it by annotation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from .controlplane import ControlPlane
from .process import Daemons

SCRAPE_INTERVAL = "5s"
RETENTION = "2d"
META = "__meta_kubernetes_pod"


def configuration(plane: ControlPlane, client: str) -> dict[str, Any]:
    """Prometheus' configuration: pods annotated prometheus.io/scrape, port and path, of all namespaces.

    The labels `namespace` and `pod` and the pod labels below kinema.dev/ are kept.
    """
    pki = plane.pki
    tls = {
        "ca_file": str(pki.certificate("ca")),
        "cert_file": str(pki.certificate(client)),
        "key_file": str(pki.key(client)),
    }
    relabel: list[dict[str, Any]] = [
        {
            "source_labels": [f"{META}_annotation_prometheus_io_scrape"],
            "regex": "true",
            "action": "keep",
        },
        {"source_labels": [f"{META}_phase"], "regex": "Succeeded|Failed", "action": "drop"},
        {
            "source_labels": [f"{META}_annotation_prometheus_io_path"],
            "regex": "(.+)",
            "target_label": "__metrics_path__",
        },
        {
            "source_labels": [f"{META}_ip", f"{META}_annotation_prometheus_io_port"],
            "separator": ":",
            "regex": r"(.+:\d+)",
            "target_label": "__address__",
        },
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": [f"{META}_name"], "target_label": "pod"},
        {"regex": f"{META}_label_(kinema_dev_.+)", "action": "labelmap"},
    ]
    pods = {
        "job_name": "pods",
        "kubernetes_sd_configs": [{"role": "pod", "api_server": plane.server, "tls_config": tls}],
        "relabel_configs": relabel,
    }
    interval = {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL}
    return {"global": interval, "scrape_configs": [pods]}


def start_prometheus(plane: ControlPlane, daemons: Daemons, port: int) -> bool:
    """Start Prometheus on 127.0.0.1:`port` unless it runs; return whether it was started."""
    folder = plane.folder / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(configuration(plane, "prometheus"), indent=1))
    argv: list[str | Path] = [
        shutil.which("prometheus") or "prometheus",
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    return daemons.start("prometheus", argv)



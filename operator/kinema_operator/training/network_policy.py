"""The NetworkPolicy around a training: its pods reach each other, DNS and the object store, and nothing else.

Gloo and NCCL choose their ports, so among the training's own pods every port is open. Progress is asked for by the
operator, metrics by Prometheus: from the operator's namespace and from those labelled kinema.dev/monitoring=true.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final
from urllib.parse import urlsplit

from kinema_api import names
from kinema_api.objectstore import StoreLocation
from kinema_api.training import VideoModelTraining
from kinema_operator.settings import Settings
from kinema_operator.training import ownership

MONITORING_LABEL: Final = f"{names.GROUP}/monitoring"
_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_DNS_PORT: Final = 53


def network_policy(training: VideoModelTraining, location: StoreLocation, settings: Settings) -> dict[str, Any]:
    """The policy of a training, for all its runs."""
    own = {"podSelector": {"matchLabels": {names.LABEL_TRAINING: training.metadata.name}}}
    name = names.network_policy_name(training.metadata.name)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": ownership.metadata(training, name, ownership.labels(training, names.COMPONENT_TRAINER)),
        "spec": {
            "podSelector": own["podSelector"],
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [own]},
                {
                    "from": [
                        {"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: settings.pod_namespace}}},
                        {"namespaceSelector": {"matchLabels": {MONITORING_LABEL: "true"}}},
                    ],
                    "ports": [_port(names.PROGRESS_PORT)],
                },
            ],
            "egress": [
                {"to": [own]},
                {"ports": [_port(_DNS_PORT, "UDP"), _port(_DNS_PORT)]},
                _to_store(location, training.metadata.namespace),
            ],
        },
    }


def _to_store(location: StoreLocation, namespace: str) -> dict[str, Any]:
    url = urlsplit(location.endpoint)
    host = url.hostname or ""
    rule: dict[str, Any] = {"ports": [_port(url.port or _DEFAULT_PORTS[url.scheme])]}
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        home = _namespace_of(host, namespace)
        if home:
            rule["to"] = [{"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: home}}}]
        # A name outside the cluster can have any address: only the port bounds it.
        return rule
    rule["to"] = [{"ipBlock": {"cidr": str(ipaddress.ip_network(address))}}]
    return rule


def _namespace_of(host: str, own: str) -> str | None:
    """The namespace of a Service's DNS name, or None for a name outside the cluster."""
    parts = host.split(".")
    if len(parts) == 1:
        return own
    return parts[1] if len(parts) > 2 and parts[2] == "svc" else None


def _port(port: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": port, "protocol": protocol}

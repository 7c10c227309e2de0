"""The NetworkPolicy around a training: its pods reach each other, DNS and the object store, and nothing else.

Gloo and NCCL choose their ports, so among the training's own pods every port is open. Progress is asked for by the
operator, metrics by Prometheus: from the operator's namespace and from those labelled kinema.dev/monitoring=true.
"""

from __future__ import annotations

from typing import Any

from kinema_api import names
from kinema_api.objectstore import StoreLocation
from kinema_api.training import VideoModelTraining
from kinema_operator.network import NAMESPACE_NAME_LABEL, dns_egress, store_egresses
from kinema_operator.settings import Settings
from kinema_operator.training import ownership


def network_policy(training: VideoModelTraining, location: StoreLocation, settings: Settings) -> dict[str, Any]:
    """The policy of a training, for all its runs."""
    own = {"podSelector": {"matchLabels": {names.LABEL_TRAINING: training.metadata.name}}}
    watchers = (
        {NAMESPACE_NAME_LABEL: settings.pod_namespace},
        {names.LABEL_MONITORING: "true"},
    )
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
                    "from": [{"namespaceSelector": {"matchLabels": labels}} for labels in watchers],
                    "ports": [{"protocol": "TCP", "port": names.PROGRESS_PORT}],
                },
            ],
            "egress": [{"to": [own]}, dns_egress(), *store_egresses([location.endpoint])],
        },
    }

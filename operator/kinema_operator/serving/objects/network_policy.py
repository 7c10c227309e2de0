"""The NetworkPolicy around a model's servers: orders from the operator alone, and out to nothing but the store.

A prompt is hostile input; a server that it takes over finds no door but the object store, and no key for that. Where
the operator names a language model that says prompts at length, that is a second door.
"""

from __future__ import annotations

from collections.abc import Iterable

from kinema_api import names
from kinema_api.serving import KIND, VideoModel
from kinema_operator.core import egress
from kinema_operator.core.ownership import controller_reference
from kinema_operator.core.plan import KubeObject
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.labels import model_selector


def server_network_policy(model: VideoModel, store_endpoints: Iterable[str], settings: Settings) -> KubeObject:
    """The policy for all servers of `model`; `store_endpoints`: where its weights and its requests' clips lie."""
    operator = {
        "namespaceSelector": {"matchLabels": {egress.NAMESPACE_NAME_LABEL: settings.pod_namespace}},
        "podSelector": {
            "matchLabels": {names.LABEL_COMPONENT: names.COMPONENT_OPERATOR},
        },
    }
    monitoring = {"namespaceSelector": {"matchLabels": {names.LABEL_MONITORING: "true"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": names.serving_policy_name(model.metadata.name),
            "namespace": model.metadata.namespace,
            "labels": names.common_labels(model.metadata.name, names.COMPONENT_SERVER),
            "ownerReferences": [controller_reference(KIND, model.metadata)],
        },
        "spec": {
            "podSelector": {"matchLabels": model_selector(model.metadata.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [operator], "ports": [{"protocol": "TCP", "port": names.SERVER_PORT}]},
                {"from": [monitoring], "ports": [{"protocol": "TCP", "port": names.SERVER_METRICS_PORT}]},
            ],
            "egress": [
                egress.dns_egress(),
                *egress.store_egresses((*store_endpoints, settings.expansion_url or "")),
            ],
        },
    }

"""The NetworkPolicy of a model's servers: orders from the operator only, and egress to the object store only.

Prompts are untrusted input: a compromised server reaches nothing but the object store, for which it has no keys, and
the language model that expands prompts, if one is configured.
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
    """The policy for all servers of `model`; `store_endpoints`: stores of its weights and of its requests' clips."""
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

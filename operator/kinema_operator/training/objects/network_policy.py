"""The NetworkPolicy of the trainings of a namespace: their pods reach each other, DNS and their stores only.

Gloo and NCCL choose their ports, so among the pods of trainings every port is open. The operator requests /progress and
Prometheus /metrics: from the operator's namespace and from namespaces labelled kinema.dev/monitoring=true. A policy
cannot select "pods with the same value of a label", so one policy for all trainings of a namespace lets their pods
reach each other: docs/decisions/0017-shared-objects.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from kinema_api import names
from kinema_operator.core.egress import NAMESPACE_NAME_LABEL, dns_egress, is_allowed, store_egresses
from kinema_operator.core.plan import KubeObject
from kinema_operator.core.settings import Settings
from kinema_operator.training.objects import ownership

CACHED_NAMESPACES: Final = 1024
"""Cached, since every reconcile of every training needs the same policy."""


def network_policy(namespace: str, endpoints: Iterable[str], settings: Settings) -> KubeObject:
    """The policy of a namespace whose trainings use the stores at `endpoints`; stores not allowed are left out."""
    own, allowed = settings.store_endpoint, settings.allowed_stores
    return _network_policy(namespace, frozenset(endpoints), own, allowed, settings.pod_namespace)


@lru_cache(CACHED_NAMESPACES)
def _network_policy(
    namespace: str, endpoints: frozenset[str], own: str, allowed: tuple[str, ...], operators_namespace: str
) -> KubeObject:
    stores = {endpoint for endpoint in endpoints if endpoint == own or is_allowed(endpoint, own, allowed)}
    trainings = {"podSelector": {"matchExpressions": [{"key": names.LABEL_TRAINING, "operator": "Exists"}]}}
    watchers = (
        {NAMESPACE_NAME_LABEL: operators_namespace},
        {names.LABEL_MONITORING: "true"},
    )
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": ownership.shared_metadata(namespace, names.TRAININGS_POLICY, names.COMPONENT_TRAINER),
        "spec": {
            "podSelector": trainings["podSelector"],
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [trainings]},
                {
                    "from": [{"namespaceSelector": {"matchLabels": labels}} for labels in watchers],
                    "ports": [{"protocol": "TCP", "port": names.PROGRESS_PORT}],
                },
            ],
            "egress": [{"to": [trainings]}, dns_egress(), *store_egresses(stores)],
        },
    }

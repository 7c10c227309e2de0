"""What a cluster has beside Kubernetes itself: DNS, a RuntimeClass for host Python, rights of the agent."""

from __future__ import annotations

from typing import Any

from .images import Image
from .kubeapi import KubeApi
from .node import DNS_ADDRESS, HOST_PYTHON_HANDLER

COREDNS_IMAGE = "localhost/kinema/coredns:dev"
MINIO_IMAGE = "localhost/kinema/minio:dev"
AGENT = "kinema-cluster-agent"

COREFILE = """.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa {
        ttl 5
    }
    prometheus :9153
    loadbalance
    reload
}
"""


def coredns_image(binary: Any) -> Image:
    """Image of CoreDNS."""
    return Image(COREDNS_IMAGE, ["/coredns"], programs={"coredns": binary})


def minio_image(binary: Any) -> Image:
    """Image of MinIO; it writes below HOME, which must be a volume if the root is read-only."""
    return Image(MINIO_IMAGE, ["/minio"], programs={"minio": binary}, environment={"HOME": "/tmp"})


def manifests() -> list[dict[str, Any]]:
    """All objects that the tool applies."""
    return [
        *_agent_rights(),
        *_dns_rights(),
        *_dns(),
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": HOST_PYTHON_HANDLER},
            "handler": HOST_PYTHON_HANDLER,
        },
    ]


def apply_all(api: KubeApi) -> None:
    """Apply every object; what is right already is not written again."""
    for manifest in manifests():
        api.apply(manifest)


def _agent_rights() -> list[dict[str, Any]]:
    follow = ["get", "list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["pods", "namespaces", "nodes"], "verbs": follow},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": follow},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    ]
    return [_role(AGENT, rules), _binding(AGENT, AGENT, {"kind": "User", "name": AGENT})]


def _role(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    version = "rbac.authorization.k8s.io/v1"
    return {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}


def _binding(name: str, role: str, subject: dict[str, str]) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [subject if subject["kind"] == "ServiceAccount" else {"apiGroup": group, **subject}],
    }


def _dns_rights() -> list[dict[str, Any]]:
    verbs = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": verbs},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
    ]
    account = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    return [_role("system:coredns", rules), _binding("system:coredns", "system:coredns", account)]


def _dns() -> list[dict[str, Any]]:
    metadata = {"name": "coredns", "namespace": "kube-system"}
    labels = {"k8s-app": "kube-dns"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": COREFILE}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": _dns_deployment(labels),
        },
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": budget},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
            "spec": {"clusterIP": DNS_ADDRESS, "selector": labels, "ports": ports},
        },
    ]


def _dns_deployment(labels: dict[str, str]) -> dict[str, Any]:
    """Two replicas on two nodes, so that losing a node does not take name resolution along."""
    container = {
        "name": "coredns",
        "image": COREDNS_IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "40Mi"}, "limits": {"memory": "170Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "timeoutSeconds": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "topologySpreadConstraints": [spread],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}

"""A ValidatingAdmissionPolicy that limits the operator's account further than RBAC can. Pure.

Permission to create pods and Secrets in every namespace amounts to that of an administrator: a pod can run as any
service account, mount any Secret and reach the node. This policy limits the operator's account to the objects that the
operator creates. It does not apply to other accounts.

Source: KEP-3488, ValidatingAdmissionPolicy, stable since Kubernetes 1.30.
"""

from __future__ import annotations

from typing import Any, Final

from kinema_api import generation, names, serving, training
from kinema_operator.manifests import rbac

API_VERSION: Final = "admissionregistration.k8s.io/v1"
NAME: Final = "kinema-operator"
ACCOUNT: Final = "OPERATOR_ACCOUNT"
"""Placeholder in `spec()` for the name of the operator's account."""
NAMESPACE: Final = "OPERATOR_NAMESPACE"
"""Placeholder in `spec()` for the operator's namespace."""
ACCOUNTS: Final = "ALLOWED_SERVICE_ACCOUNTS"
"""Placeholder in `spec()` for the list of service accounts that trainers may run as."""

_MANAGED: Final = f"'{names.LABEL_MANAGED_BY}'"
_PLURALS: Final = (training.PLURAL, serving.PLURAL, generation.PLURAL)


def spec() -> dict[str, Any]:
    """The policy's spec, with ACCOUNT, NAMESPACE and ACCOUNTS still to be replaced."""
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": _resources()},
        "matchConditions": [{"name": "operator", "expression": f"request.userInfo.username == '{ACCOUNT}'"}],
        "variables": [{"name": name, "expression": expression} for name, expression in _VARIABLES.items()],
        "validations": [{"expression": expression, "message": message} for expression, message in _VALIDATIONS],
    }


def manifests(namespace: str = rbac.SYSTEM_NAMESPACE) -> list[dict[str, Any]]:
    """Policy and binding for an operator in `namespace`, whose trainers run as no service account."""
    return [
        _object("ValidatingAdmissionPolicy", _filled(spec(), namespace)),
        _object("ValidatingAdmissionPolicyBinding", {"policyName": NAME, "validationActions": ["Deny"]}),
    ]


def _filled(value: Any, namespace: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(child, namespace) for key, child in value.items()}
    if isinstance(value, list):
        return [_filled(child, namespace) for child in value]
    if isinstance(value, str):
        filled = value.replace(ACCOUNTS, "[]")
        return filled.replace(ACCOUNT, rbac.audit_user(namespace)).replace(NAMESPACE, namespace)
    return value


def _object(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    labels = {names.LABEL_NAME: "kinema", names.LABEL_PART_OF: "kinema"}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": NAME, "labels": labels}, "spec": content}


def _resources() -> list[dict[str, Any]]:
    everything = ["CREATE", "UPDATE", "DELETE"]

    def rule(group: str, version: str, resources: list[str]) -> dict[str, Any]:
        return {
            "apiGroups": [group],
            "apiVersions": [version],
            "operations": everything,
            "resources": resources,
            "scope": "Namespaced",
        }

    return [
        rule("", "v1", ["pods", "pods/status", "services", "secrets"]),
        rule("batch", "v1", ["jobs"]),
        rule("apps", "v1", ["deployments"]),
        rule("networking.k8s.io", "v1", ["networkpolicies"]),
        rule(names.GROUP, names.VERSION, [*_PLURALS]),
    ]


def _ours(which: str) -> str:
    return f"{which}.metadata.?labels[?{_MANAGED}].orValue('') == '{names.MANAGED_BY}'"


_STORAGE_SECRET: Final = f".endsWith('{names.storage_secret_name('x').removeprefix('x')}')"

_VARIABLES: Final = {
    "resource": "request.resource.resource + (request.?subResource.orValue('') == '' ? '' : '/' + request.subResource)",
    "own": f"request.resource.group == '{names.GROUP}'",
    # The spec of the pod or of the template; empty for objects without pods.
    "pod": (
        "object == null || request.operation != 'CREATE' && variables.resource == 'pods' ? {} : "
        "variables.resource == 'pods' ? object.spec : "
        "variables.resource in ['jobs', 'deployments'] ? object.spec.template.spec : {}"
    ),
    "component": f"object == null ? '' : object.metadata.?labels[?'{names.LABEL_COMPONENT}'].orValue('')",
    "account": "variables.pod.?serviceAccountName.orValue('default')",
    "containers": "variables.pod.?containers.orValue([]) + variables.pod.?initContainers.orValue([])",
}

_VALIDATIONS: Final = (
    (
        f"oldObject == null || variables.own || {_ours('oldObject')}",
        "Kinema's operator changes and deletes only objects that it made",
    ),
    (
        f"object == null || variables.own && request.operation == 'UPDATE' || {_ours('object')}",
        f"what Kinema's operator makes carries the label {names.LABEL_MANAGED_BY}={names.MANAGED_BY}",
    ),
    (
        "!variables.own || request.operation != 'UPDATE' || object.spec == oldObject.spec",
        "specs belong to people: Kinema's operator does not change them",
    ),
    (
        "!variables.own || request.operation != 'DELETE' || has(oldObject.spec.ttlSecondsAfterFinished)",
        "Kinema's operator deletes only resources whose spec gives them an end (ttlSecondsAfterFinished)",
    ),
    (
        f"variables.resource != 'secrets' || object == null || object.type == 'Opaque' && "
        f"(object.metadata.name{_STORAGE_SECRET} || object.metadata.namespace == '{NAMESPACE}')",
        "Kinema's operator makes Opaque Secrets for trainers and for itself, and no other ones",
    ),
    (
        "variables.resource != 'services' || object == null || object.spec.?type.orValue('ClusterIP') == 'ClusterIP' "
        "&& !has(object.spec.externalIPs)",
        "Kinema's operator makes Services that are reached within the cluster only",
    ),
    (
        "variables.resource != 'pods/status' || object.status.?phase.orValue('') == 'Failed'",
        "Kinema's operator only marks pods of lost nodes as Failed",
    ),
    (
        "(variables.account in ['', 'default'] || variables.resource == 'jobs' && "
        f"variables.component in ['{names.COMPONENT_TRAINER}', '{names.COMPONENT_PREPARER}'] && "
        f"variables.account in {ACCOUNTS}) && "
        "(!has(variables.pod.containers) || variables.pod.?automountServiceAccountToken.orValue(true) == false)",
        "pods of Kinema's operator have no token, and no service account but trainers, and what prepares "
        "their clips, one of allowedServiceAccounts",
    ),
    (
        "!variables.pod.?hostNetwork.orValue(false) && !variables.pod.?hostPID.orValue(false) && "
        "!variables.pod.?hostIPC.orValue(false) && "
        "variables.containers.all(c, !c.?securityContext.?privileged.orValue(false) && "
        "!c.?securityContext.?allowPrivilegeEscalation.orValue(true) && "
        "c.?ports.orValue([]).all(p, p.?hostPort.orValue(0) == 0))",
        "pods of Kinema's operator have no access to the node",
    ),
    (
        "variables.pod.?volumes.orValue([]).all(v, has(v.emptyDir) || has(v.configMap) || has(v.downwardAPI) || "
        "has(v.persistentVolumeClaim) && variables.resource in ['jobs', 'deployments'] || "
        f"has(v.secret) && v.secret.secretName{_STORAGE_SECRET})",
        "pods of Kinema's operator mount scratch space, ConfigMaps and their own storage keys, and those of Jobs and "
        "Deployments claims, and nothing else",
    ),
    (
        "variables.containers.all(c, !has(c.envFrom) && "
        "c.?env.orValue([]).all(e, !has(e.valueFrom) || !has(e.valueFrom.secretKeyRef)))",
        "pods of Kinema's operator get no Secret through their environment",
    ),
)

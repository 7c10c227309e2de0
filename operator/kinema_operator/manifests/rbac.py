"""RBAC rules as data: the least privileges for the operator, and roles for users of the kinds. Pure.

Manifests and chart are generated from this; a test on a real API server checks as the operator's account that these
rules allow what the operator does and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kinema_api import generation, links, names, serving, training
from kinema_operator.core.stores import SECRETS_ROLE

GROUP: Final = "rbac.authorization.k8s.io"
SERVICE_ACCOUNT: Final = "kinema-operator"
SYSTEM_NAMESPACE: Final = "kinema-system"
OPERATOR_ROLE: Final = "kinema-operator"
OWN_ROLE: Final = "kinema-operator-own"

Rule = dict[str, Any]

_READ: Final = ("get", "list", "watch")
_PLURALS: Final = (training.PLURAL, serving.PLURAL, generation.PLURAL)


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> Rule:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


OPERATOR_RULES: Final[tuple[Rule, ...]] = (
    # Kinema's kinds: users write specs, so the operator only reads them; it writes the status.
    _rule(names.GROUP, _PLURALS, _READ),
    _rule(names.GROUP, [f"{plural}/status" for plural in _PLURALS], ("patch",)),
    # Owner references that block deletion are checked against this where that admission plugin is on.
    _rule(names.GROUP, [f"{plural}/finalizers" for plural in _PLURALS], ("update",)),
    # A training's annotation with the location of its artefacts, its finalizer, and its deletion after its ttl.
    _rule(names.GROUP, [training.PLURAL], ("patch", "delete")),
    # A training that publishes creates the VideoModel and never changes it.
    _rule(names.GROUP, [serving.PLURAL], ("create",)),
    # Generations whose ttlSecondsAfterFinished are over.
    _rule(names.GROUP, [generation.PLURAL], ("delete",)),
    # What runs. Pods: the rendezvous store is a bare one; leftovers are deleted, deletion costs patched.
    _rule("batch", ["jobs"], (*_READ, "create", "patch", "delete")),
    _rule("apps", ["deployments"], (*_READ, "create", "patch", "delete")),
    _rule("", ["pods", "services"], (*_READ, "create", "patch", "delete")),
    _rule("networking.k8s.io", ["networkpolicies"], (*_READ, "create", "patch", "delete")),
    # The short-lived keys of trainers. Owner references delete them; the admission policy keeps others' Secrets safe.
    _rule("", ["secrets"], ("create", "patch")),
    # Events are read too: only there a Job reports that its pods are refused.
    _rule("", ["events"], ("create", "patch", "get", "list")),
    # The claim on a namespace. RBAC cannot restrict names at creation.
    _rule("coordination.k8s.io", ["leases"], ("create",)),
    {**_rule("coordination.k8s.io", ["leases"], ("get", "update")), "resourceNames": [names.CLAIM_LEASE]},
)
"""Rules in the watched namespaces."""

NODE_RULES: Final[tuple[Rule, ...]] = (_rule("", ["nodes"], _READ),)
"""Rules in the whole cluster, to detect lost nodes."""

LOST_POD_RULES: Final[tuple[Rule, ...]] = (_rule("", ["pods/status"], ("patch",)),)
"""Rules in the watched namespaces, to mark pods of lost nodes as Failed, so that they are replaced. Useful only
together with NODE_RULES, which an operator of one namespace gets only from an administrator."""

SECRETS_RULES: Final[tuple[Rule, ...]] = (_rule("", ["secrets"], ("get",)),)
"""Rules in namespaces that let the operator read the keys of their stores. Admission policies do not apply to reads and
RBAC cannot select Secrets by label, so the operator does not have this right in the whole cluster by default."""

REVIEW_ROLE: Final = "system:auth-delegator"
"""Kubernetes' ClusterRole for TokenReview and SubjectAccessReview (access.py)."""

OWN_RULES: Final[tuple[Rule, ...]] = (
    # The leader's Lease.
    _rule("coordination.k8s.io", ["leases"], ("get", "create", "update")),
    # The key of the chart's MinIO, created if it does not exist.
    _rule("", ["secrets"], ("create",)),
    # The key that signs orders, created if it does not exist.
    {**_rule("", ["secrets"], ("get",)), "resourceNames": [names.ORDER_KEY_SECRET]},
)
"""Rules in the operator's namespace."""

LINKS_ROLE: Final = "kinema-links"
LINKS_RULES: Final[tuple[Rule, ...]] = (
    {**_rule("", ["services/proxy"], ("get", "create")), "resourceNames": [f"{links.SERVICE}:{links.PORT_NAME}"]},
)
"""Rules in the operator's namespace, for all authenticated clients: to request presigned URLs and upload forms from the
operator through the API server. The operator authorizes each request; that port serves nothing else."""
KNOWN_GROUP: Final = "system:authenticated"


def audit_user(namespace: str = SYSTEM_NAMESPACE) -> str:
    """The operator as the API server's audit log names it."""
    return f"system:serviceaccount:{namespace}:{SERVICE_ACCOUNT}"


def operator_manifests(namespace: str = SYSTEM_NAMESPACE) -> list[dict[str, Any]]:
    """ServiceAccount, roles and bindings of an operator that watches all namespaces."""
    subject = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": namespace}
    return [
        _object("v1", "ServiceAccount", SERVICE_ACCOUNT, namespace) | {"automountServiceAccountToken": False},
        cluster_role(OPERATOR_ROLE, (*OPERATOR_RULES, *NODE_RULES, *LOST_POD_RULES)),
        cluster_role(SECRETS_ROLE, SECRETS_RULES),
        _binding("ClusterRoleBinding", OPERATOR_ROLE, "ClusterRole", subject),
        _binding("ClusterRoleBinding", "kinema-operator-reviews", "ClusterRole", subject, role_name=REVIEW_ROLE),
        _rbac_object("Role", OWN_ROLE, namespace) | {"rules": [*OWN_RULES]},
        _binding("RoleBinding", OWN_ROLE, "Role", subject, namespace),
        _rbac_object("Role", LINKS_ROLE, namespace) | {"rules": [*LINKS_RULES]},
        _binding(
            "RoleBinding", LINKS_ROLE, "Role", {"apiGroup": GROUP, "kind": "Group", "name": KNOWN_GROUP}, namespace
        ),
    ]


def user_roles() -> list[dict[str, Any]]:
    """Roles that join Kubernetes' own view, edit and admin: whoever may use a namespace may use the kinds there.

    Status and the scale subresource are read with view; scaling is an edit. Nobody but the operator writes status.
    """
    read = [*_PLURALS, *(f"{plural}/status" for plural in _PLURALS), f"{training.PLURAL}/scale"]
    write = [*_PLURALS, f"{training.PLURAL}/scale"]
    change = ("create", "update", "patch", "delete")
    return [
        _aggregated("view", [_rule(names.GROUP, read, _READ)]),
        _aggregated("edit", [_rule(names.GROUP, read, _READ), _rule(names.GROUP, write, change)]),
        _aggregated(
            "admin", [_rule(names.GROUP, read, _READ), _rule(names.GROUP, write, (*change, "deletecollection"))]
        ),
    ]


def cluster_role(name: str, rules: Sequence[Rule]) -> dict[str, Any]:
    """A ClusterRole."""
    return _rbac_object("ClusterRole", name) | {"rules": [*rules]}


def _aggregated(level: str, rules: Sequence[Rule]) -> dict[str, Any]:
    role = cluster_role(f"kinema-{level}", rules)
    role["metadata"]["labels"][f"{GROUP}/aggregate-to-{level}"] = "true"
    return role


def _binding(
    kind: str,
    name: str,
    role_kind: str,
    subject: dict[str, str],
    namespace: str | None = None,
    role_name: str | None = None,
) -> dict[str, Any]:
    role = {"apiGroup": GROUP, "kind": role_kind, "name": role_name or name}
    return _rbac_object(kind, name, namespace) | {"roleRef": role, "subjects": [subject]}


def _rbac_object(kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    return _object(f"{GROUP}/v1", kind, name, namespace)


def _object(api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    metadata["labels"] = {names.LABEL_NAME: "kinema", names.LABEL_PART_OF: "kinema"}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}

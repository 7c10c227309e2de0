"""The kinds that the operator uses and their paths: a fixed table, without discovery at run time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kinema_api import generation, names, serving, training
from kinema_operator.core.errors import OperatorError
from kinema_operator.core.plan import KubeObject, Ref


class UnknownKind(OperatorError):
    """A kind that is not in the table."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API server serves it."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection, or of one object, percent-encoded; `namespace` None: across all namespaces, or of
        the cluster.

        Raises:
            UnsafeName: a name is not safe in a path.
        """
        prefix = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [prefix + self.api_version]
        if namespace is not None:
            parts += ["namespaces", names.path_segment(namespace)]
        parts.append(self.plural)
        parts += [names.path_segment(part) for part in (name, subresource) if part is not None]
        return "/".join(parts)


RESOURCES: Final[dict[str, Resource]] = {
    resource.kind: resource
    for resource in (
        Resource(names.API_VERSION, training.KIND, training.PLURAL),
        Resource(names.API_VERSION, serving.KIND, serving.PLURAL),
        Resource(names.API_VERSION, generation.KIND, generation.PLURAL),
        Resource("v1", "Node", "nodes"),
        Resource("authentication.k8s.io/v1", "TokenReview", "tokenreviews"),
        Resource("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews"),
        Resource("v1", "Pod", "pods"),
        Resource("v1", "Service", "services"),
        Resource("v1", "Secret", "secrets"),
        Resource("v1", "ConfigMap", "configmaps"),
        Resource("v1", "Event", "events"),
        Resource("batch/v1", "Job", "jobs"),
        Resource("apps/v1", "Deployment", "deployments"),
        Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        Resource("coordination.k8s.io/v1", "Lease", "leases"),
    )
}

CUSTOM_KINDS: Final = (training.KIND, serving.KIND, generation.KIND)
"""Kinds that are reconciled; all of their objects are watched."""

CHILD_KINDS: Final = ("Pod", "Job", "Service", "Deployment", "NetworkPolicy")
"""Kinds that the operator creates and watches, limited to MANAGED_SELECTOR."""

NODE_KIND: Final = "Node"
"""Watched if permitted, to detect lost nodes. The operator starts without it."""

MANAGED_SELECTOR: Final = {names.LABEL_MANAGED_BY: names.MANAGED_BY}


def resource(kind: str) -> Resource:
    """The table's entry for a kind.

    Raises:
        UnknownKind: the kind is not in the table.
    """
    try:
        return RESOURCES[kind]
    except KeyError:
        raise UnknownKind(f"kind {kind} is not known to the operator; add it to resources.py") from None


def ref_to(obj: KubeObject, *, with_uid: bool = True) -> Ref:
    """A reference to `obj`, by default with its UID."""
    metadata = obj["metadata"]
    uid = metadata.get("uid") if with_uid else None
    return Ref(resource(obj["kind"]).api_version, obj["kind"], metadata.get("namespace", ""), metadata["name"], uid)

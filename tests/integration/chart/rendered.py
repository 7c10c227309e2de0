"""What tests of the chart share: values of several ways to install, and how to read what Helm renders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NAMESPACE = "kinema-system"
KUBERNETES = "1.34.0"
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
TENANT = {"namespaced": True, "crds": {"install": False}, "rbac": {"userRoles": False}}
TRIAL = {"minio": {"enabled": True, "nodePort": 30900}, "store": {"publicEndpoint": "http://192.0.2.1:30900"}}
S3 = {
    "store": {"endpoint": "https://s3.example.com", "bucket": "videos", "region": "eu-west-1", "existingSecret": "s3"}
}
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

Render = Callable[..., list[dict[str, Any]]]


def one(objects: list[dict[str, Any]], kind: str, name: str = "kinema-operator") -> dict[str, Any]:
    """The only object of that kind and name."""
    found = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, [(o["kind"], o["metadata"]["name"]) for o in objects]
    return found[0]


def names_of(objects: list[dict[str, Any]], kind: str) -> set[str]:
    return {o["metadata"]["name"] for o in objects if o["kind"] == kind}


def environment(objects: list[dict[str, Any]]) -> dict[str, str | None]:
    """The operator's environment; None where the value comes from the pod."""
    container = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    variables = [variable["name"] for variable in container["env"]]
    assert len(variables) == len(set(variables)), "a name given twice cannot be applied server-side"
    return {variable["name"]: variable.get("value") for variable in container["env"]}

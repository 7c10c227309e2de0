"""One server's pod, reduced to what the planners ask about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kinema_api import names
from kinema_operator.plan import Manifest, Ref

DELETION_COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True)
class ServerPod:
    """A server as the cluster sees it."""

    namespace: str
    name: str
    uid: str
    resource_version: str = ""
    short_digest: str = ""
    address: str | None = None
    """Pod IP."""
    ready: bool = False
    terminating: bool = False
    ended: bool = False
    """Its containers have ended for good."""
    deletion_cost: int = 0

    @property
    def available(self) -> bool:
        """Whether a request may be given to it."""
        return self.ready and not self.terminating and not self.ended and self.address is not None

    @property
    def ref(self) -> Ref:
        """This very pod."""
        return Ref("v1", "Pod", self.namespace, self.name, self.uid)


def server_pod(manifest: Manifest) -> ServerPod:
    """A Pod of the API server as a ServerPod."""
    metadata: Mapping[str, Any] = manifest["metadata"]
    status: Mapping[str, Any] = manifest.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return ServerPod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),
        short_digest=(metadata.get("labels") or {}).get(names.LABEL_DIGEST, ""),
        address=status.get("podIP") or None,
        ready=conditions.get("Ready") == "True",
        terminating=bool(metadata.get("deletionTimestamp")),
        ended=status.get("phase") in ("Succeeded", "Failed"),
        deletion_cost=_deletion_cost(metadata.get("annotations") or {}),
    )


def _deletion_cost(annotations: Mapping[str, str]) -> int:
    try:
        return int(annotations.get(DELETION_COST_ANNOTATION, "0"))
    except ValueError:
        return 0

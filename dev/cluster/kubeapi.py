"""A small Kubernetes client on the standard library alone.

The cluster tool runs before any environment is installed, so it cannot use the one the operator uses.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from .errors import ApiError, ClusterError

FIELD_MANAGER = "kinema-cluster"
REQUEST_SECONDS = 15.0
WATCH_SECONDS = 240

# What this tool applies: kind -> (path prefix, plural, namespaced).
KINDS = {
    "Namespace": ("/api/v1", "namespaces", False),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Service": ("/api/v1", "services", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets", True),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "RuntimeClass": ("/apis/node.k8s.io/v1", "runtimeclasses", False),
}


class KubeApi:
    """Requests to one API server with the client certificate of a kubeconfig this tool wrote."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        address = urlparse(cluster["server"])
        if not address.hostname or not address.port:
            raise ClusterError(f"{kubeconfig} names no host and port; run `up` again to write it anew.")
        self.host, self.port = address.hostname, address.port
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]))
            pem.write(base64.b64decode(user["client-key-data"]))
            pem.flush()
            self._tls.load_cert_chain(pem.name)

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """Send one request, return the decoded JSON (or the text, if it is not JSON).

        Raises:
            ApiError: the answer's status was not 2xx.
            OSError: no connection.
        """
        connection = self._connect(REQUEST_SECONDS)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": content_type})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status >= 300:
            raise ApiError(response.status, f"{method} {path}: {response.status} {text[:500]}")
        return json.loads(text) if text.startswith("{") else text

    def apply(self, manifest: dict[str, Any]) -> None:
        """Server-side apply; what is right already is not written again."""
        prefix, plural, namespaced = KINDS[manifest["kind"]]
        metadata = manifest["metadata"]
        scope = f"/namespaces/{metadata['namespace']}" if namespaced else ""
        path = f"{prefix}{scope}/{plural}/{metadata['name']}?fieldManager={FIELD_MANAGER}&force=true"
        self.request("PATCH", path, manifest, "application/apply-patch+yaml")

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            return bool(self.request("GET", "/readyz") == "ok")
        except (OSError, ApiError, http.client.HTTPException):
            return False

    def watch(self, path: str, resource_version: str) -> Iterator[dict[str, Any]]:
        """Yield the events of one watch until the server ends it.

        Raises:
            ApiError: the version is gone (410) or the watch was refused; list again.
            OSError: the connection broke; list again.
        """
        connection = self._connect(WATCH_SECONDS + REQUEST_SECONDS)
        query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}"
        try:
            connection.request("GET", f"{path}?{query}&resourceVersion={resource_version}")
            response = connection.getresponse()
            if response.status != 200:
                raise ApiError(response.status, response.read().decode()[:500])
            while line := response.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(int(event["object"].get("code", 500)), str(event["object"].get("message")))
                yield event
        finally:
            connection.close()

    def _connect(self, seconds: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.host, self.port, context=self._tls, timeout=seconds)

"""Requests for presigned URLs of clips: what the operator and the command must agree on."""

from __future__ import annotations

from typing import Final

from kinema_api import generation, names

AUDIENCE: Final = f"{names.GROUP}/links"
"""Audience of accepted tokens: `kubectl create token ACCOUNT --audience kinema.dev/links`."""
PROXIED_HEADER: Final = "Kinema-Authorization"
"""Header for the token behind a proxy that does not forward Authorization, such as the API server's."""
SERVICE: Final = "kinema-operator"
PORT_NAME: Final = "links"
"""Port name in the Service and the container. The path of the API server's proxy has SERVICE:PORT_NAME."""
ROLES: Final = {"get": "kinema-view", "create": "kinema-edit"}
"""ClusterRole of the chart by verb on generations: get allows presigned URLs of clips, create allows uploads."""


def path(namespace: str, name: str) -> str:
    """Path of the presigned URLs of a clip on the operator's port."""
    return f"/v1/namespaces/{namespace}/{generation.PLURAL}/{name}/links"


def upload_path(namespace: str, name: str, field: str) -> str:
    """Path of the form for the upload to `field` of a generation's spec: input, end or mask."""
    return f"/v1/namespaces/{namespace}/{generation.PLURAL}/{name}/uploads/{field}"

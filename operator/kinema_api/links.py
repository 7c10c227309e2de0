"""How addresses of clips are asked for: what the operator that signs them and the command that asks must agree on."""

from __future__ import annotations

from typing import Final

from kinema_api import generation, names

AUDIENCE: Final = f"{names.GROUP}/links"
"""Audience of the tokens that are taken: `kubectl create token ACCOUNT --audience kinema.dev/links`."""
PROXIED_HEADER: Final = "Kinema-Authorization"
"""Carries the token where a proxy keeps Authorization for itself, as that of the API server does."""
SERVICE: Final = "kinema-operator"
PORT_NAME: Final = "links"
"""Of the Service, and of the container's port. The API server's proxy is asked for SERVICE:PORT_NAME."""
ROLES: Final = {"get": "kinema-view", "create": "kinema-edit"}
"""ClusterRoles of the chart that let an account do that to generations: ask for addresses of clips, upload inputs."""


def path(namespace: str, name: str) -> str:
    """Path of a clip's addresses, from the root of the operator's port."""
    return f"/v1/namespaces/{namespace}/{generation.PLURAL}/{name}/links"


def upload_path(namespace: str, name: str, field: str) -> str:
    """Path of the form that uploads what `field` of a generation's spec waits for: input, end or mask."""
    return f"/v1/namespaces/{namespace}/{generation.PLURAL}/{name}/uploads/{field}"

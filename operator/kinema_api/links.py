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
READER_ROLE: Final = "kinema-view"
"""ClusterRole of the chart that lets an account read generations, and so ask for addresses of their clips."""


def path(namespace: str, name: str) -> str:
    """Path of a clip's addresses, from the root of the operator's port."""
    return f"/v1/namespaces/{namespace}/{generation.PLURAL}/{name}/links"

"""Labels of the objects that serve one digest of a model, and the selector that finds their pods."""

from __future__ import annotations

from kinema_api import names


def server_selector(model: str, digest: str) -> dict[str, str]:
    """Label selector for the servers of one digest of a model."""
    return {
        names.LABEL_COMPONENT: names.COMPONENT_SERVER,
        names.LABEL_MODEL: model,
        names.LABEL_DIGEST: names.short_digest(digest),
    }


def server_labels(model: str, digest: str) -> dict[str, str]:
    """Labels of the Deployment, the Service and the pods of one digest of a model."""
    return {**names.common_labels(model, names.COMPONENT_SERVER), **server_selector(model, digest)}


def model_selector(model: str) -> dict[str, str]:
    """Label selector for all servers of a model."""
    return {names.LABEL_COMPONENT: names.COMPONENT_SERVER, names.LABEL_MODEL: model}

"""Owner references, so that the garbage collector deletes objects with their resource."""

from __future__ import annotations

from typing import Any

from kinema_api import names
from kinema_api.base import ObjectMeta


def controller_reference(kind: str, owner: ObjectMeta) -> dict[str, Any]:
    """An owner reference that names `owner`, a custom resource of `kind`, as the controlling owner."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }

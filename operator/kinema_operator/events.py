"""Kubernetes events about our resources, as `kubectl describe` and `kubectl events` show them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from kinema_operator.client import Client
from kinema_operator.plan import Event, Manifest

COMPONENT = "kinema-operator"
MAX_MESSAGE = 1024
"""Longest message that the API server takes."""


async def post_event(client: Client, obj: Manifest, event: Event) -> None:
    """Post `event` about `obj`.

    Raises:
        ApiError: the request failed.
    """
    metadata = obj["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    await client.post(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": obj["apiVersion"],
                "kind": obj["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:MAX_MESSAGE],
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
    )

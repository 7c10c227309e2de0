"""Waits for a resource to end, and keeps trying while the cluster does not respond."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kinema_cli.errors import ClusterUnreachable, TimedOut
from kinema_cli.output import Follower

if TYPE_CHECKING:
    from kinema_cli.cluster import Cluster

POLL_SECONDS: Final = 1.0
OUTAGE_SECONDS: Final = 120.0
"""The command fails when the cluster has not responded for this long; requests continue in the cluster."""

Json = dict[str, Any]


def until_ended(
    cluster: Cluster,
    plural: str,
    name: str,
    ended: Callable[[Json], bool],
    show: Callable[[Json, Follower], None],
    follower: Follower,
    timeout_seconds: float | None,
) -> Json:
    """Poll an object until `ended`, showing each version; returns the last one.

    Raises:
        TimedOut: after `timeout_seconds`.
        ClusterUnreachable: the cluster does not respond for too long.
    """
    started = last_answer = time.monotonic()
    while True:
        try:
            found = cluster.get(plural, name)
        except ClusterUnreachable:
            if time.monotonic() - last_answer > OUTAGE_SECONDS:
                raise
            follower.show("the cluster does not respond, retrying")
        else:
            last_answer = time.monotonic()
            show(found, follower)
            if ended(found):
                return found
        if timeout_seconds is not None and time.monotonic() - started >= timeout_seconds:
            raise TimedOut(
                f"{name} did not end within {timeout_seconds:g} s and continues; see `kinema get`, or raise --timeout"
            )
        time.sleep(POLL_SECONDS)


def reason(status: Json) -> str:
    """The message of the condition that best explains the state of an object."""
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    failed = conditions.get("Failed", {})
    if failed.get("status") == "True" and failed.get("message"):
        return str(failed["message"])
    waiting = [c for c in conditions.values() if c.get("status") != "True" and c.get("message")]
    newest = max(waiting, key=lambda c: str(c.get("lastTransitionTime", "")), default=None)
    return str(newest["message"]) if newest else ""

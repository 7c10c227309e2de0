"""Kopf, embedded, with most of its features disabled.

It starts and stops the process (signals, order of tasks), logs in, and watches the custom resources into the cache. Its
handlers decide nothing, and its bookkeeping (annotations, finalizers, peering, posted events) is not used. See
docs/decisions/0004-operator-shell.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import kopf

from kinema_api import names
from kinema_operator.core.resources import CUSTOM_KINDS, resource
from kinema_operator.shell.connection import Connection
from kinema_operator.shell.runtime import Runtime

LAST_RESORT_SECONDS = 25.0
"""A process that has not ended this long after SIGTERM kills itself: below Kubernetes' default grace of 30 s."""


class NoDiffBase(kopf.DiffBaseStorage):
    """Disables the comparison with the last handled version.

    Kopf copies the object several times per event for it, although no handler here uses it.
    """

    def build(
        self,
        *,
        body: kopf.Body,
        extra_fields: Iterable[Any] | None = None,
    ) -> kopf.BodyEssence:
        """An empty essence."""
        return cast(kopf.BodyEssence, {})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """None: nothing is stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Store nothing."""


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf without anything that writes to the cluster or watches more than our own kinds."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.process.ultimate_exiting_timeout = LAST_RESORT_SECONDS
    return settings


def kopf_registry(connection: Connection, runtime: Runtime) -> kopf.OperatorRegistry:
    """Kopf's handlers: log in, start, feed the cache, stop."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection.for_kopf()

    @kopf.on.startup(registry=registry)
    async def start(**_: Any) -> None:
        await runtime.start()

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await runtime.stop()

    async def saw(event: kopf.RawEvent, **_: Any) -> None:
        runtime.saw(event["type"], dict(event["object"]))

    for kind in CUSTOM_KINDS:
        kopf.on.event(names.GROUP, names.VERSION, resource(kind).plural, registry=registry)(saw)
    return registry

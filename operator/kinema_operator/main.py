"""The process: Kopf embedded, with the replica's life hung on its start-up and clean-up.

Kopf brings the process up and down (signals, order of start and end), logs in, and watches the custom resources;
what it sees goes into the cache. Nothing is decided in its handlers, and nothing of its bookkeeping (annotations,
finalizers, peering) is used. See docs/decisions/0004-operator-shell.md.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import kopf

from kinema_api import names
from kinema_operator import logs
from kinema_operator.connection import Connection
from kinema_operator.errors import OperatorError
from kinema_operator.registry import controllers
from kinema_operator.resources import CUSTOM_KINDS, resource
from kinema_operator.runtime import Factory, Runtime
from kinema_operator.settings import Settings

log = logging.getLogger(__name__)

LAST_RESORT_SECONDS = 25.0
"""A process that has not ended this long after SIGTERM kills itself: below Kubernetes' default grace of 30 s."""


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf without anything that writes to the cluster or watches more than our own kinds."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.peering.standalone = True
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


async def run(settings: Settings, factory: Factory = controllers) -> int:
    """Run one replica until it is told to stop (0) or cannot go on (1)."""
    try:
        connection = await Connection.load()
    except OperatorError as error:
        log.critical("%s", error)
        return 1
    runtime = Runtime(settings, connection, factory)
    watched = settings.watch_namespace
    await kopf.operator(
        registry=kopf_registry(connection, runtime),
        settings=kopf_settings(),
        standalone=True,
        clusterwide=watched is None,
        namespaces=[] if watched is None else [watched],
        stop_flag=runtime.over,
    )
    return 1 if runtime.failure else 0


def main() -> int:
    """Entry point of `python -m kinema_operator`."""
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    return asyncio.run(run(settings))

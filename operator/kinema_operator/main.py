"""The process: settings, log, credentials, and Kopf around one replica's life."""

from __future__ import annotations

import logging
import os
from typing import Any, cast

import kopf
import uvloop

from kinema_operator.core.errors import OperatorError
from kinema_operator.core.settings import Settings
from kinema_operator.registry import controllers
from kinema_operator.shell import logs, store_key
from kinema_operator.shell.connection import Connection
from kinema_operator.shell.kopf_shell import kopf_registry, kopf_settings
from kinema_operator.shell.runtime import Factory, Runtime

log = logging.getLogger(__name__)


async def run(settings: Settings, factory: Factory = controllers) -> int:
    """Run one replica until it is stopped (0) or fails (1)."""
    try:
        connection = await Connection.load()
    except OperatorError as error:
        log.critical("%s", error)
        return 1
    await store_key.ensure(connection, settings)
    runtime = Runtime(settings, connection, factory)
    watched = settings.watch_namespace
    await kopf.operator(
        registry=kopf_registry(connection, runtime),
        settings=kopf_settings(),
        # Kopf's default looks up the user's name, which a random UID does not have.
        identity=cast(Any, settings.identity),
        standalone=True,
        clusterwide=watched is None,
        namespaces=[] if watched is None else [watched],
        stop_flag=runtime.over,
    )
    if runtime.failure:
        # The loop would wait for threads that still hash or copy, although another replica leads now.
        logging.shutdown()
        os._exit(1)
    return 0


def main() -> int:
    """Entry point of `python -m kinema_operator`."""
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    return uvloop.run(run(settings))

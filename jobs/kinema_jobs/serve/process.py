"""The process of a server: its arguments, its ports, and its end."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import os
import re
import signal
import time
from typing import Final

from aiohttp import web

from kinema_api.listening import listen
from kinema_api.names import ENV_ORDER_KEY, ENV_POD_UID, SERVER_PORT
from kinema_api.signature import Verifier
from kinema_jobs.serve.listening import TimeoutSite
from kinema_jobs.serve.settings import ServerSettings
from kinema_model.errors import TextEncoderMissing
from kinema_model.text.weights import bundled_folder

log = logging.getLogger("kinema_jobs.serve")
LAST_WORD_SECONDS: Final = 3.0
"""How long a server with a broken device still answers."""


def main() -> int:
    """Parse argv, import the heavy parts, serve.

    Exit codes: 0 ended as asked, 2 bad arguments or settings, or no text encoder, 45 (`kinema_api.wire.EXIT_CODES`) the
    device has failed.
    """
    parser = argparse.ArgumentParser(prog="python -m kinema_jobs.serve", description="Serve one model until SIGTERM.")
    parser.add_argument("--digest", required=True, type=_digest, help="the model to serve, sha256:<hex>")
    parser.add_argument("--port", type=int, default=SERVER_PORT, help="0: any free port, named in the log")
    parser.add_argument("--metrics-port", type=int, help="where to answer /metrics; nowhere unless given")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    started = time.monotonic()
    ports = (arguments.port, arguments.metrics_port)
    settings = ServerSettings()
    try:
        bundled_folder()  # before the port opens: without it every order would fail
    except TextEncoderMissing as error:
        log.error("cannot serve: %s", error)  # noqa: TRY400
        return 2
    try:
        verifier = _verifier(settings)
    except ValueError as error:
        log.error("cannot verify orders: %s", error)  # noqa: TRY400
        return 2
    code = asyncio.run(_serve(arguments.digest, ports, settings, verifier, started))
    logging.shutdown()
    return code


def _verifier(settings: ServerSettings) -> Verifier | None:
    """The verifier of the operator's signatures. None: only clients on this machine can send orders.

    Raises:
        ValueError: there is no key, or it is unusable, and the port would be open to others.
    """
    keys = os.environ.get(ENV_ORDER_KEY, "")
    if keys:
        return Verifier(keys, os.environ.get(ENV_POD_UID, ""))
    if settings.host is not None and _is_loopback(settings.host):
        return None
    raise ValueError(f"{ENV_ORDER_KEY} is not set: set it, or KINEMA_SERVER_HOST to a loopback address")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _digest(value: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise argparse.ArgumentTypeError("write the digest as sha256: and 64 hex digits")
    return value


async def _serve(
    digest: str, ports: tuple[int, int | None], settings: ServerSettings, verifier: Verifier | None, started: float
) -> int:
    """Serve on the ports for (orders, metrics) until a signal, or until the device fails; returns the exit code."""
    # Before the port opens, so that a ready server does not have to import torch first.
    from kinema_jobs.serve import device
    from kinema_jobs.serve.app import make_app, make_metrics_app
    from kinema_jobs.serve.service import open_service

    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    try:
        await asyncio.to_thread(device.check)
    except RuntimeError as error:
        log.error("the device failed its self-test (%s): no order is accepted", type(error).__name__)  # noqa: TRY400
        return device.EXIT_CODE
    async with open_service(digest, settings) as service:
        app = make_app(service.book, service.models, settings.max_order_bytes, verifier, settings.request_seconds)
        runner = _runner(app)
        await _listen(runner, settings.host, ports[0], settings.request_seconds)
        monitoring = _runner(make_metrics_app())
        if ports[1] is not None:
            await _listen(monitoring, settings.host, ports[1], settings.request_seconds)
        log.info("serving %s on port %s, ready after %.1f s", digest, _ports(runner), time.monotonic() - started)
        await _first(ending, service.broken)
        if service.broken.is_set():
            log.error("ending: the device has failed")
            # The operator asks every second; this answer saves it from waiting for a pod that is gone.
            await asyncio.wait([asyncio.ensure_future(ending.wait())], timeout=LAST_WORD_SECONDS)
            return device.EXIT_CODE
        log.info("ending: no more orders are accepted")
        if not await service.book.drain(settings.grace_seconds):
            # A denoising step cannot be interrupted, and its result is not needed.
            log.warning("the current order did not end in time: abandoning it")
        await runner.cleanup()
        await monitoring.cleanup()
    return 0


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(app, access_log=None, shutdown_timeout=1.0)


async def _listen(runner: web.AppRunner, host: str | None, port: int, patience: float) -> None:
    await runner.setup()
    await TimeoutSite(runner, listen(port, host), patience).start()


def _ports(runner: web.AppRunner) -> str:
    return ", ".join(sorted({str(address[1]) for address in runner.addresses}))

"""`python -m kinema_jobs.serve --digest sha256:... --port 8500`: serves one model until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import signal
import sys
import time

from aiohttp import web

from kinema_api.listening import listen
from kinema_api.names import SERVER_PORT
from kinema_jobs.serve.settings import ServerSettings

log = logging.getLogger("kinema_jobs.serve")


def main() -> int:
    """Parse argv, import the heavy parts, serve. Exit codes: 0 ended as asked, 2 bad arguments."""
    parser = argparse.ArgumentParser(prog="python -m kinema_jobs.serve", description=__doc__)
    parser.add_argument("--digest", required=True, type=_digest, help="the model to serve, sha256:<hex>")
    parser.add_argument("--port", type=int, default=SERVER_PORT, help="0: any free port, named in the log")
    parser.add_argument("--metrics-port", type=int, help="where to answer /metrics; nowhere unless given")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    started = time.monotonic()
    ports = (arguments.port, arguments.metrics_port)
    ended = asyncio.run(_serve(arguments.digest, ports, ServerSettings(), started))
    if not ended:
        # A denoising step cannot be interrupted, and Python would wait for its thread; nothing of it is needed.
        log.warning("the step in hand did not end in time: leaving it")
        logging.shutdown()
        os._exit(0)
    return 0


def _digest(value: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise argparse.ArgumentTypeError("write the digest as sha256: and 64 hex digits")
    return value


async def _serve(digest: str, ports: tuple[int, int | None], settings: ServerSettings, started: float) -> bool:
    """Serve until a signal on the ports for (orders, metrics); True if nothing runs any more."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    # Before the port opens, so that "ready" means that the seconds of importing torch are over.
    from kinema_jobs.serve.app import make_app, make_metrics_app
    from kinema_jobs.serve.service import open_service

    async with open_service(digest, settings) as service:
        runner = _runner(make_app(service.book, service.models, settings.max_order_bytes))
        await _listen(runner, settings.host, ports[0])
        monitoring = _runner(make_metrics_app())
        if ports[1] is not None:
            await _listen(monitoring, settings.host, ports[1])
        log.info("serving %s on port %s, ready after %.1f s", digest, _ports(runner), time.monotonic() - started)
        await ending.wait()
        log.info("ending: no more orders are taken")
        ended = await service.book.drain(settings.grace_seconds)
        await runner.cleanup()
        await monitoring.cleanup()
    return ended


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(app, access_log=None, shutdown_timeout=1.0)


async def _listen(runner: web.AppRunner, host: str | None, port: int) -> None:
    await runner.setup()
    await web.SockSite(runner, listen(port, host)).start()


def _ports(runner: web.AppRunner) -> str:
    return ", ".join(sorted({str(address[1]) for address in runner.addresses}))


if __name__ == "__main__":
    sys.exit(main())

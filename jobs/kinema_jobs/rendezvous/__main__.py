"""`python -m kinema_jobs.rendezvous`: the process in a training's store pod."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time

from pydantic import ValidationError

from kinema_jobs.rendezvous.authority import Authority
from kinema_jobs.rendezvous.service import RendezvousServer
from kinema_jobs.rendezvous.settings import RendezvousSettings

USER_ERROR = 2


def main() -> int:
    """Serve until SIGTERM. Exit code 2 for arguments that make no sense."""
    options = argparse.ArgumentParser(prog="kinema_jobs.rendezvous", description=__doc__)
    options.add_argument("--run-id", required=True, help="uid/run/attempt that this service numbers rounds for")
    options.add_argument("--host", default="", help="address to listen on (default: all)")
    options.add_argument("--port", type=int, required=True, help="0: any free port, printed on the first line")
    options.add_argument("--min-nodes", type=int, required=True, help="no round has fewer members")
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if given.min_nodes < 1:
        options.error("--min-nodes must be at least 1: a group without members trains nothing")
    try:
        settings = RendezvousSettings()
    except ValidationError as error:
        first = error.errors()[0]
        options.error(f"KINEMA_RENDEZVOUS_{str(first['loc'][0]).upper()}: {first['msg']}; correct this variable")
    return asyncio.run(_serve(Authority(given.run_id, given.min_nodes, settings, time.monotonic()), given))


async def _serve(authority: Authority, given: argparse.Namespace) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):  # before any client can know that this process runs
        loop.add_signal_handler(number, stopping.set)
    server = RendezvousServer(authority)
    try:
        port = await server.start(given.host or None, given.port)
    except OSError as error:
        print(f"cannot listen on port {given.port} ({error.strerror}): choose a free one", file=sys.stderr)
        return USER_ERROR
    logging.info("rendezvous of %s on port %d, at least %d nodes", authority.run_id, port, authority.min_nodes)
    turn = asyncio.create_task(server.run())
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({turn, stop}, return_when=asyncio.FIRST_COMPLETED)
    if turn.done():
        await turn  # raises the error that ended it
    await server.depart()
    turn.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(main())

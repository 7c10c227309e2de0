"""/healthz, /readyz and /metrics.

Healthy means that this process's event loop runs, which a response proves: a restart repairs no problem of the API
server, and costs the caches and a growing backoff. Ready means that the caches are filled and that every watch had a
recent event: a standby is ready too. Kopf's own endpoint always responds 200.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from kinema_api.listening import listen
from kinema_operator.shell.informer import Informer
from kinema_operator.shell.metrics import REGISTRY

Guard = Callable[[Handler], Handler]


class Probes:
    """The HTTP endpoints of one process."""

    def __init__(self, informers: Sequence[Informer], stale_seconds: float) -> None:
        self._informers = informers
        self._stale_seconds = stale_seconds
        self._runners: list[web.AppRunner] = []

    def stale(self) -> dict[str, float]:
        """Kinds whose watch had no event for too long, with the seconds."""
        return {i.kind: round(i.age, 1) for i in self._informers if i.age > self._stale_seconds}

    def unsynced(self) -> list[str]:
        """Kinds that have not been listed yet."""
        return [informer.kind for informer in self._informers if not informer.synced.is_set()]

    async def start(
        self,
        health_port: int,
        metrics_port: int,
        guard: Guard | None = None,
        others: Mapping[int, Sequence[web.RouteDef]] | None = None,
    ) -> None:
        """Listen; `guard` protects /metrics. `others`: further routes, by port.

        Raises:
            OSError: a port is taken.
        """
        routes = {
            health_port: [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz)],
        }
        routes.setdefault(metrics_port, []).append(
            web.get("/metrics", guard(self._metrics) if guard else self._metrics)
        )
        for port, more in (others or {}).items():
            routes.setdefault(port, []).extend(more)
        for port, handlers in routes.items():
            app = web.Application()
            app.add_routes(handlers)
            runner = web.AppRunner(app, access_log=None, handle_signals=False)
            await runner.setup()
            self._runners.append(runner)
            await web.SockSite(runner, listen(port)).start()

    async def stop(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _readyz(self, _: web.Request) -> web.Response:
        waiting, stale = self.unsynced(), self.stale()
        answer = {"not_listed": waiting, "stale_watches": stale}
        return web.json_response(answer, status=503 if waiting or stale else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

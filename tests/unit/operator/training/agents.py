"""Trainers' agents on loopback, which say what a test lets them say."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kinema_api.wire import TrainerProgress


class Pods:
    """Agents on 127.0.0.2, 127.0.0.3 ..., all on the port that trainers use."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.asked: list[str] = []
        self.port = 0
        self._runners: list[web.AppRunner] = []

    async def start(self, count: int) -> None:
        for number in range(count):
            address = f"127.0.0.{number + 2}"
            app = web.Application()
            app.router.add_get("/progress", self._answer)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, address, self.port)
            await site.start()
            self.port = runner.addresses[0][1]
            self._runners.append(runner)

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        self.asked.append(address)
        return web.Response(text=self.answers[address], content_type="application/json")

    def says(self, number: int, **fields: Any) -> None:
        given = {"run": 1, "attempt": 1, "round": 1, "rank": number, "world_size": 2, "step": 5} | fields
        self.answers[f"127.0.0.{number + 2}"] = TrainerProgress(**given).model_dump_json(by_alias=True)

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


def pod(number: int) -> dict[str, Any]:
    return {"metadata": {"name": f"p{number}"}, "status": {"podIP": f"127.0.0.{number + 2}"}}

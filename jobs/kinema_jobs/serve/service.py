"""Puts a server's parts together; the HTTP side is added around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kinema_jobs.clip.expansion import ExpansionSettings
from kinema_jobs.clip.loading import open_model
from kinema_jobs.serve.model_cache import ModelCache
from kinema_jobs.serve.orders import OrderBook
from kinema_jobs.serve.runner import OrderRunner
from kinema_jobs.serve.settings import ServerSettings
from kinema_jobs.serve.transfer import Transfers, client_session


@dataclass(frozen=True)
class Service:
    """What a server consists of apart from HTTP."""

    book: OrderBook
    models: ModelCache
    broken: asyncio.Event
    """Set: the device has failed, and the process has to end."""


@asynccontextmanager
async def open_service(
    digest: str, settings: ServerSettings, expanding: ExpansionSettings | None = None
) -> AsyncIterator[Service]:
    """A service for one model, with its connections and its thread. Raises `BadSettings`."""
    async with client_session(settings) as session:
        transfers = Transfers(session, settings)
        models = ModelCache(digest, settings.cache_dir, transfers, open_model)
        runner = OrderRunner(models, transfers, expanding or ExpansionSettings.from_environment())
        book = OrderBook(runner.run, settings.remembered_orders)
        closing = asyncio.create_task(_close_when(runner.broken, book))
        try:
            yield Service(book, models, runner.broken)
        finally:
            closing.cancel()
            runner.close()


async def _close_when(broken: asyncio.Event, book: OrderBook) -> None:
    await broken.wait()
    book.close()

"""Keeps one kind of the cache up to date: list, then watch, and list again after a gap in the watch.

A list replaces the cached objects, so deletions during a gap are seen (Kopf's watches and indices miss them). Bookmarks
keep the resourceVersion recent. A watch without any event or bookmark for too long is started again, and /readyz checks
its age.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from typing import Any

from kinema_operator.core.errors import ApiError, Denied, Expired, NotFound, OperatorError, WatchIdle, api_error
from kinema_operator.core.resources import resource
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.shell.client import Client

log = logging.getLogger(__name__)

SERVER_TIMEOUT_SECONDS = (240, 300)
"""Range of a watch's timeoutSeconds; random, so that watches do not all end at once."""
SILENCE_SHARE = 0.75
"""Share of watch_stale_seconds after which an idle watch is replaced, before /readyz reports it. Bookmarks come about
once a minute."""
BACKOFF_SECONDS = (0.2, 10.0)
"""First and longest wait between two retries."""
REFUSED_SECONDS = 60.0
"""Interval at which an optional kind without permission is tried again, since permissions may change."""


class Informer:
    """One kind, in one namespace or all."""

    def __init__(
        self,
        client: Client,
        cache: ObjectCache,
        kind: str,
        *,
        namespace: str | None = None,
        selector: Mapping[str, str] | None = None,
        stale_seconds: float,
        optional: bool = False,
    ) -> None:
        """`optional`: if watching is refused, the cache is marked accordingly and the watch is retried periodically."""
        self.kind = kind
        self._optional = optional
        self.synced = asyncio.Event()
        """Set when the kind has been listed once."""
        self._client = client
        self._cache = cache
        self._namespace = namespace
        self._selector = ",".join(f"{label}={value}" for label, value in (selector or {}).items())
        self._silence = stale_seconds * SILENCE_SHARE
        self._alive_at = time.monotonic()
        self._version: str | None = None
        self._failures = 0
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        cache.watch_kind(kind, selector or {})

    @property
    def age(self) -> float:
        """Seconds since the last event or response of this watch."""
        return time.monotonic() - self._alive_at

    async def run(self) -> None:
        """List and watch for ever; retries after errors."""
        while True:
            try:
                if self._version is None:
                    self._version = await self._list()
                await self._watch_until_asked(self._version)
                self._failures = 0
            except Expired:
                log.info("The watch has a gap; listing again", extra={"kind": self.kind})
                self._version = None
            except OperatorError as error:
                if self._optional and isinstance(error, Denied):
                    self._version = None
                    await self._refused()
                else:
                    await self._back_off(error)
            except Exception:
                # An object that causes an exception must not end the watch of all others.
                log.exception("The watch failed; listing again", extra={"kind": self.kind})
                self._version = None
                await self._back_off(None)

    async def refresh(self) -> None:
        """List again, and return when the cache is at least as recent as this call."""
        listed = asyncio.get_running_loop().create_future()
        self._waiting.append(listed)
        self._asked.set()
        await listed

    async def _list(self) -> str:
        waiting, self._waiting = self._waiting, []
        self._asked.clear()
        try:
            objects, version = await self._client.list_all(self.kind, self._namespace, self._selector or None)
        except BaseException:
            self._waiting += waiting
            raise
        for obj in objects:
            # Items of a list have neither apiVersion nor kind.
            obj.setdefault("kind", self.kind)
            obj.setdefault("apiVersion", resource(self.kind).api_version)
        self._cache.replace(self.kind, objects, int(version))
        self._alive()
        self.synced.set()
        for listed in waiting:
            if not listed.done():
                listed.set_result(None)
        return version

    async def _watch_until_asked(self, version: str) -> None:
        watch = asyncio.create_task(self._watch(version))
        asked = asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait({watch, asked}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
            else:
                self._version = None
        finally:
            watch.cancel()
            asked.cancel()
            await asyncio.gather(watch, asked, return_exceptions=True)

    async def _watch(self, version: str) -> None:
        query = {
            "resourceVersion": version,
            "timeoutSeconds": str(random.randint(*SERVER_TIMEOUT_SECONDS)),  # noqa: S311 - jitter, not a secret
        }
        if self._selector:
            query["labelSelector"] = self._selector
        async with self._client.watch(self.kind, self._namespace, query, self._silence) as batches:
            self._alive()
            async for batch in batches:
                for event in batch:
                    self._take(event)
                self._alive()
        self._alive()

    def _take(self, event: dict[str, Any]) -> None:
        obj = event["object"]
        if event["type"] == "ERROR":
            raise api_error(f"WATCH {self.kind}", int(obj.get("code") or 0), obj)
        self._cache.advance(self.kind, event["type"], obj)
        self._version = obj["metadata"]["resourceVersion"]

    def _alive(self) -> None:
        self._alive_at = time.monotonic()

    async def _refused(self) -> None:
        if self._cache.list_state(self.kind) != "refused":
            log.warning("No permission to watch; continuing without", extra={"kind": self.kind})
            self._cache.refuse(self.kind)
        await asyncio.sleep(REFUSED_SECONDS)

    async def _back_off(self, error: OperatorError | None) -> None:
        self._failures += 1
        first, longest = BACKOFF_SECONDS
        wait = min(longest, first * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        if isinstance(error, ApiError):
            hint = "; are the CRDs installed?" if isinstance(error, NotFound) else ""
            level = logging.DEBUG if isinstance(error, WatchIdle) else logging.WARNING
            about = {"kind": self.kind, "retry_seconds": round(wait, 1)}
            log.log(level, "Cannot watch: %s%s", error, hint, extra=about)
        await asyncio.sleep(wait)

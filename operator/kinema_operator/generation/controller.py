"""VideoGeneration's controller: joins observation, plan and effects.

Between two reconciles it remembers refusals of servers and stores until the plan has seen them (after a restart the
request is repeated), and which server to stop when a generation is deleted (after a restart the next order for the
server does so). The VideoModel's controller, which has the request queue, wakes queued requests; the end of a
generation wakes those that use its clip as an input.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from aiohttp import web

from kinema_api import generation, names
from kinema_api.generation import VideoGeneration
from kinema_operator.core.controller import Cache, Reader
from kinema_operator.core.errors import NotLeading
from kinema_operator.core.plan import Effect, Key, KubeObject, Plan
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.order_keys import OrderKeys
from kinema_operator.dispatch.queues import queues_of
from kinema_operator.dispatch.requests import ASSIGNED, TERMINAL
from kinema_operator.dispatch.server_pod import ServerPod
from kinema_operator.generation.effects import CancelOrder, Clean, Commit, Record, SendOrder
from kinema_operator.generation.links import Links
from kinema_operator.generation.observe import GenerationObserver, servers_of
from kinema_operator.generation.observed import Observed, OrderRefusal, Problem
from kinema_operator.generation.perform import copy_files, delete_keys, send_order, write_record
from kinema_operator.generation.plan import broken_off, plan
from kinema_operator.generation.server_client import ServerClient
from kinema_operator.generation.stores import find_model
from kinema_operator.shell.access import Access
from kinema_operator.shell.storage import StoreSource

log = logging.getLogger(__name__)


class GenerationController:
    """Renders clips."""

    kind: Final = generation.KIND

    def __init__(
        self,
        settings: Settings,
        client: Reader,
        stores: StoreSource,
        server_port: int = names.SERVER_PORT,
        keys: OrderKeys | None = None,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._client = client
        self._servers = ServerClient(settings.pod_timeout_seconds, server_port, keys)
        self._refusals: dict[str, tuple[int, OrderRefusal]] = {}
        self._hindrances: dict[str, Problem] = {}
        self._followed: dict[Key, tuple[VideoGeneration, ServerPod | None]] = {}
        self._cache: Cache | None = None

    def routes(self, access: Access, cache: Cache) -> list[web.RouteDef]:
        """Routes of the operator's HTTP API for clients: presigned URLs of clips."""
        return Links(access, cache, self._stores, self._client).routes()

    async def close(self) -> None:
        """Close the connections to servers."""
        await self._servers.close()

    def keys_for(self, obj: KubeObject) -> Iterable[Key]:
        """The generation and, once it has ended, those that wait for its clip."""
        if obj["kind"] != generation.KIND:
            return []
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        ended = (obj.get("status") or {}).get("phase") in TERMINAL
        waiting = queues_of(self._cache, namespace).waiting_for(namespace, name) if ended and self._cache else ()
        return [Key(generation.KIND, namespace, each) for each in (name, *waiting)]

    def parse(self, obj: KubeObject) -> VideoGeneration:
        """See `VideoGeneration.parse`."""
        return VideoGeneration.parse(obj)

    async def observe(self, key: Key, resource: VideoGeneration, cache: Cache) -> Observed:
        """See generation.observe."""
        self._cache = cache
        observer = GenerationObserver(
            generation=resource,
            model=find_model(resource, cache),
            servers=servers_of(resource, cache) if resource.status.phase not in TERMINAL else (),
            cache=cache,
            stores=self._stores,
            client=self._servers,
            settings=self._settings,
            refusal=self._refusal(resource),
            hindrance=self._hindrances.pop(resource.metadata.uid, None),
        )
        try:
            observed = await observer.observe()
        except NotLeading:
            raise
        except Exception as error:  # an error of one request must not stop others, nor its own cancel and deadline
            log.exception("Observing VideoGeneration %s/%s failed", key.namespace, key.name)
            return Observed(observer.known_model(), problem=Problem("LookFailed", _words(error)))
        self._remember(key, resource, observed)
        return observed

    def plan(self, resource: VideoGeneration, observed: Observed, now: datetime) -> Plan:
        """See generation.plan. After an unexpected exception cancel and deadline still end the request."""
        try:
            return plan(resource, observed, self._settings, now)
        except Exception as error:  # possibly due to a response of a server: must not block the request for ever
            log.exception("Planning VideoGeneration %s/%s failed", resource.metadata.namespace, resource.metadata.name)
            return plan(resource, broken_off(observed, _words(error)), self._settings, now)

    async def gone(self, key: Key, cache: Cache) -> None:
        """After a deletion: stop the server's order, and delete the files of an unfinished request."""
        found = self._followed.pop(key, None)
        if found is None:
            return
        resource, server = found
        if server is not None and server.address is not None:
            # Ignore a server that does not respond: the next order for it stops this one.
            await self._servers.cancel(server.address, resource.metadata.uid, server.uid)
        self._refusals.pop(resource.metadata.uid, None)

    def _remember(self, key: Key, resource: VideoGeneration, observed: Observed) -> None:
        """Remember the server of the request, for `gone`."""
        if resource.status.phase in ASSIGNED and observed.server is not None:
            self._followed[key] = (resource, observed.server)
        else:
            self._followed.pop(key, None)

    async def perform(self, key: Key, resource: VideoGeneration, effect: Effect) -> None:
        """Carry out one effect."""
        model = find_model(resource, self._cache) if self._cache else None
        match effect:
            case SendOrder():
                assert self._cache is not None, "a key is observed before it is reconciled"
                refusal = await send_order(
                    resource, model, effect, self._stores, self._servers, self._settings, self._cache
                )
                if refusal is not None:
                    self._refusals[resource.metadata.uid] = (effect.attempt, refusal)
            case CancelOrder():
                if effect.server.address is not None:
                    await self._servers.cancel(effect.server.address, effect.uid, effect.server.uid)
            case Commit():
                self._hindered(resource, await copy_files(resource, model, effect, self._stores))
            case Record():
                self._hindered(resource, await write_record(resource, model, self._stores))
            case Clean():
                self._hindered(resource, await delete_keys(resource, model, effect.keys, self._stores))
            case _:
                raise TypeError(f"unknown effect {type(effect).__name__} of a generation; report this as a bug")

    def _hindered(self, resource: VideoGeneration, problem: Problem | None) -> None:
        if problem is not None:
            self._hindrances[resource.metadata.uid] = problem

    def _refusal(self, resource: VideoGeneration) -> OrderRefusal | None:
        attempt, refusal = self._refusals.get(resource.metadata.uid, (0, None))
        if resource.status.phase in TERMINAL or attempt != resource.status.attempt:
            self._refusals.pop(resource.metadata.uid, None)
            return None
        return refusal


def _words(error: Exception) -> str:
    return f"{type(error).__name__}; see the operator's log and report it as a bug"

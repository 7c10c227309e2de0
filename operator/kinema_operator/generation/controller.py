"""VideoGeneration's controller: joins observation, plan and effects.

What it remembers between two looks is a server's refusal, until the plan has seen it; a restart asks the server once
more and hears the same. Waiting requests are woken by their VideoModel's controller, which knows the line, and by the
clips that they are given.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from kinema_api import generation, names
from kinema_api.errors import InvalidManifest
from kinema_api.generation import VideoGeneration
from kinema_operator.controller import Cache
from kinema_operator.generation.effects import copy_files, send_order
from kinema_operator.generation.observe import Look, servers_of
from kinema_operator.generation.observed import CancelOrder, Commit, Observed, Refusal, SendOrder
from kinema_operator.generation.plan import plan
from kinema_operator.generation.queue import TERMINAL, waits_for
from kinema_operator.generation.server_client import ServerClient
from kinema_operator.generation.stores import find_model
from kinema_operator.plan import Effect, Key, Manifest, Plan
from kinema_operator.serving.observe import Stores
from kinema_operator.settings import Settings
from kinema_operator.unreadable import leave_alone


class GenerationController:
    """Renders clips."""

    kind: Final = generation.KIND

    def __init__(
        self, settings: Settings, client: object, stores: Stores, server_port: int = names.SERVER_PORT
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._servers = ServerClient(settings.pod_timeout_seconds, server_port)
        self._refusals: dict[str, tuple[int, Refusal]] = {}
        self._cache: Cache | None = None

    async def close(self) -> None:
        """Close the connections to servers."""
        await self._servers.close()

    def keys_for(self, obj: Manifest) -> Iterable[Key]:
        """The generation itself and, once it has ended, those that wait for its clip."""
        if obj["kind"] != generation.KIND:
            return []
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        ended = (obj.get("status") or {}).get("phase") in TERMINAL
        others = self._cache.list(generation.KIND, namespace) if ended and self._cache else ()
        waiting = [other["metadata"]["name"] for other in others if waits_for(other, name)]
        return [Key(generation.KIND, namespace, each) for each in (name, *waiting)]

    async def observe(self, key: Key, obj: Manifest, cache: Cache) -> Observed:
        """See generation.observe; an empty look if the resource cannot be read."""
        self._cache = cache
        try:
            wanted = VideoGeneration.parse(obj)
        except InvalidManifest:
            return Observed()
        look = Look(
            generation=wanted,
            model=find_model(wanted, cache),
            servers=servers_of(wanted, cache),
            cache=cache,
            stores=self._stores,
            client=self._servers,
            settings=self._settings,
            refusal=self._refusal(wanted),
        )
        return await look.observe()

    def plan(self, obj: Manifest, observed: Any, now: datetime) -> Plan:
        """See generation.plan."""
        try:
            return plan(VideoGeneration.parse(obj), observed, self._settings, now)
        except InvalidManifest as error:
            return leave_alone(obj, error, now)

    async def perform(self, key: Key, obj: Manifest, effect: Effect) -> None:
        """Carry out one effect."""
        wanted = VideoGeneration.parse(obj)
        model = find_model(wanted, self._cache) if self._cache else None
        match effect:
            case SendOrder():
                assert self._cache is not None, "a key is observed before anything is done about it"
                refusal = await send_order(
                    wanted, model, effect, self._stores, self._servers, self._settings, self._cache
                )
                if refusal is not None:
                    self._refusals[wanted.metadata.uid] = (effect.attempt, refusal)
            case CancelOrder():
                if effect.server.address is not None:
                    await self._servers.cancel(effect.server.address, effect.uid)
            case Commit():
                await copy_files(wanted, model, effect, self._stores)
            case _:
                raise TypeError(f"a generation knows no effect {type(effect).__name__}; report this as a bug")

    def _refusal(self, wanted: VideoGeneration) -> Refusal | None:
        attempt, refusal = self._refusals.get(wanted.metadata.uid, (0, None))
        if wanted.status.phase in TERMINAL or attempt != wanted.status.attempt:
            self._refusals.pop(wanted.metadata.uid, None)
            return None
        return refusal

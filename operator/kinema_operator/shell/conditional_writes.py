"""Which object stores keep to the conditions of writes, on which the fence between attempts rests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from kinema_api.conditional import require_conditional_writes
from kinema_api.objectstore import ObjectStore
from kinema_operator.shell.store_limits import ask

MOST_REMEMBERED: Final = 256
"""Stores known to fence; one that is forgotten is tried again."""


class ConditionalStores:
    """Finds out once of each store whether it keeps to the conditions of writes, tried once."""

    def __init__(self, *, weak_allowed: bool) -> None:
        self._weak_allowed = weak_allowed
        self._known: dict[int, _Tried] = {}

    async def require(self, store: ObjectStore, prefix: str) -> None:
        """Try it below `prefix`, unless it was tried before or the weaker fence is allowed.

        Raises:
            StoreLacksConditionalWrites: the store does not keep to them.
            StorageError: the store cannot be used now.
        """
        if self._weak_allowed:
            return
        tried = self._known.setdefault(id(store), _Tried(store))
        # One try at a time per store, and none waits for another store's.
        async with tried.lock:
            if not tried.fences:
                await ask(store, require_conditional_writes, store, prefix)
                tried.fences = True
        while len(self._known) > MOST_REMEMBERED:
            del self._known[next(iter(self._known))]


@dataclass
class _Tried:
    store: ObjectStore
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    fences: bool = False

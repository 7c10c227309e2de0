"""Which object stores support conditional writes, on which the fence between attempts is based."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from kinema_api.conditional import require_conditional_writes
from kinema_api.objectstore import ObjectStore
from kinema_operator.shell.store_limits import ask

MOST_REMEMBERED: Final = 256
"""Most stores whose result is cached; others are checked again."""


class ConditionalStores:
    """Checks each store once for conditional writes."""

    def __init__(self, *, weak_allowed: bool) -> None:
        self._weak_allowed = weak_allowed
        self._known: dict[int, _Tried] = {}

    async def require(self, store: ObjectStore, prefix: str) -> None:
        """Check the store below `prefix`, unless it was checked before or the weaker fence is allowed.

        Raises:
            StoreLacksConditionalWrites: the store does not support conditional writes.
            StorageError: the store cannot be used now.
        """
        if self._weak_allowed:
            return
        tried = self._known.setdefault(id(store), _Tried(store))
        # One check at a time per store; different stores do not wait for each other.
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

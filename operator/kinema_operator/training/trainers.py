"""Asking trainers how far they are: rank 0 of the newest round speaks for the group.

Job index and rank are unrelated, so the pod that was rank 0 last is asked first, and all are asked when it no longer
is. An answer is good for the progress interval, however often the training is looked at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final

import aiohttp

from kinema_api import names
from kinema_api.errors import UnsafeName
from kinema_api.wire import TrainerProgress
from kinema_operator.plan import Key, Manifest
from kinema_operator.settings import Settings

SILENCE_SECONDS: Final = 1.0
"""When nobody spoke for the group, nobody is asked again for so long."""
LAST_TRIES: Final = 2
"""A pod on a node that is not heard of is asked so often before it is given up: one answer may go astray."""
FRESH_SHARE: Final = 0.9
"""An answer is good for this share of the interval, so that a look right at its end asks anew."""
MAX_ANSWER_BYTES: Final = 64 << 10
"""A trainer runs somebody's data: its answer is not trusted to be short."""


@dataclass(frozen=True)
class _Answer:
    progress: TrainerProgress | None
    pod: str | None
    run: int
    attempt: int
    at: float
    """Seconds of the monotonic clock."""


class Trainers:
    """Asks pods over HTTP. What it remembers only saves requests."""

    def __init__(self, settings: Settings, port: int = names.PROGRESS_PORT) -> None:
        self._timeout = aiohttp.ClientTimeout(total=settings.pod_timeout_seconds)
        self._interval = settings.progress_interval_seconds
        self._port = port
        self._answers: dict[Key, _Answer] = {}

    async def progress(self, key: Key, run: int, attempt: int, pods: Iterable[Manifest]) -> TrainerProgress | None:
        """What the group says through its rank 0; None if nobody does. `pods` are the running ones."""
        known = self._answers.get(key)
        if known and (known.run, known.attempt) != (run, attempt):
            known = None
        addresses = {p["metadata"]["name"]: ip for p in pods if (ip := (p.get("status") or {}).get("podIP"))}
        if known and self._still_good(known, addresses):
            return known.progress
        first = {name: ip for name, ip in addresses.items() if known and name == known.pod}
        spoke = await self._rank_zero(first, run, attempt) or await self._rank_zero(addresses, run, attempt)
        pod, progress = spoke or (None, None)
        self._answers[key] = _Answer(progress, pod, run, attempt, time.monotonic())
        return progress

    def _still_good(self, known: _Answer, addresses: Container[str]) -> bool:
        age = time.monotonic() - known.at
        if known.pod is None:
            return age < SILENCE_SECONDS
        return known.pod in addresses and age < self._interval * FRESH_SHARE

    async def silent(self, pods: Iterable[Manifest]) -> frozenset[str]:
        """Names of the pods that answer none of `LAST_TRIES` questions; one without an address never will."""
        left = {pod["metadata"]["name"]: (pod.get("status") or {}).get("podIP") for pod in pods}
        asked = {name: address for name, address in left.items() if address}
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            for _ in range(LAST_TRIES):
                answers = await asyncio.gather(*(self._ask(session, address) for address in asked.values()))
                for name, answer in zip(list(asked), answers, strict=True):
                    if answer:
                        del asked[name], left[name]
        return frozenset(left)

    def forget(self, key: Key) -> None:
        """The training runs no more."""
        self._answers.pop(key, None)

    async def _rank_zero(self, addresses: dict[str, str], run: int, attempt: int) -> tuple[str, TrainerProgress] | None:
        if not addresses:
            return None
        # A session per question: nothing stays open between two questions, so nothing has to be closed at the end.
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            answers = await asyncio.gather(*(self._ask(session, address) for address in addresses.values()))
        speakers = [
            (name, answer)
            for name, answer in zip(addresses, answers, strict=True)
            if answer and answer.rank == 0 and answer.world_size > 0 and (answer.run, answer.attempt) == (run, attempt)
        ]
        # A rank 0 that was cut off still believes in its older round.
        return max(speakers, key=lambda speaker: speaker[1].round, default=None)

    async def _ask(self, session: aiohttp.ClientSession, address: str) -> TrainerProgress | None:
        try:
            async with session.get(
                f"{names.pod_origin(address, self._port)}/progress", allow_redirects=False
            ) as response:
                if response.status != 200:
                    return None
                body = await response.content.read(MAX_ANSWER_BYTES)
                return TrainerProgress.model_validate_json(body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, UnsafeName):
            return None

"""Requests the progress of a group from its trainers: rank 0 of the newest round reports for the group.

Job index and rank are unrelated, so the pod that was rank 0 last is asked first, and all pods if it is not rank 0 any
more. A response is reused for the progress interval, however often the training is reconciled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp

from kinema_api import names
from kinema_api.base import ApiModel
from kinema_api.errors import UnsafeName
from kinema_api.prepare import PrepareProgress
from kinema_api.wire import MAX_COUNT, TrainerProgress
from kinema_operator.core.plan import Key, KubeObject
from kinema_operator.core.settings import Settings
from kinema_operator.shell import pod_http
from kinema_operator.training.observed import GroupSeen

SILENCE_SECONDS: Final = 1.0
"""Interval of requests while no rank 0 responds or the group gets no response from its rendezvous pod."""
CUT_OFF_SECONDS: Final = 2.0
"""Two heartbeats: if a trainer has had no response from the rendezvous pod for this long, all trainers are asked."""
LAST_TRIES: Final = 2
"""Requests to a pod on an unreachable node before it counts as lost, since one response may get lost."""
TOLERATED_SILENCE_SECONDS: Final = 15.0
"""Time for which the last response of rank 0 is used, since a busy machine may miss a request or two."""
FRESH_SHARE: Final = 0.9
"""Share of the interval for which a response is reused, so that a reconcile at its end sends a request."""
MAX_ANSWER_BYTES: Final = 64 << 10
"""Longest response that is read: trainers are not trusted."""
MOST_PREPARERS_ASKED: Final = 3
"""Pods that prepare clips and are asked how far they are; each of them knows of the work of all."""
Answer = TypeVar("Answer", bound=ApiModel)


@dataclass
class _Known:
    """What is known of one attempt. Times are seconds of this process's monotonic clock, never of a trainer's."""

    run: int
    attempt: int
    asked: float = 0.0
    pods: frozenset[str] = frozenset()
    """UIDs of the running trainers."""
    arrived: float = 0.0
    """When the last of them started."""
    speaker: str | None = None
    """Name of the pod that was rank 0 last."""
    progress: TrainerProgress | None = None
    """Its last response."""
    heard: float = 0.0
    """Time of that response."""
    step: int | None = None
    stepped: float = 0.0
    """End of the newest known step."""
    answering: int = 0
    cut_off_since: float | None = None
    """Time since which no responding trainer has had a response from the rendezvous pod."""
    lease: float = 0.0
    """The longest reported lease. It never shrinks: the trainer that reported it may still have it and not respond."""
    short_since: float | None = None
    """Time since which some trainers run, but too few."""


class Trainers:
    """Requests progress over HTTP. It remembers responses to save requests and to measure the time without progress.

    After a restart of the operator that time starts at zero.
    """

    def __init__(self, settings: Settings, port: int = names.PROGRESS_PORT) -> None:
        self._timeout = aiohttp.ClientTimeout(total=settings.pod_timeout_seconds)
        self._interval = settings.progress_interval_seconds
        self._port = port
        self._known: dict[Key, _Known] = {}

    async def progress(self, key: Key, run: int, attempt: int, pods: Iterable[KubeObject]) -> TrainerProgress | None:
        """Progress reported by rank 0; None if there is none. `pods` are the running trainers."""
        return (await self.group(key, run, attempt, pods)).progress

    async def group(self, key: Key, run: int, attempt: int, pods: Iterable[KubeObject], least: int = 1) -> GroupSeen:
        """Progress reported by rank 0, and the time without progress.

        Args:
            key: key of the training.
            run: the current run.
            attempt: the current attempt.
            pods: running trainers.
            least: nodes that the group needs.
        """
        running = list(pods)
        known = self._known.get(key)
        if known is None or (known.run, known.attempt) != (run, attempt):
            known = self._known[key] = _Known(run, attempt)
        _note_arrivals(known, frozenset(str(p["metadata"].get("uid")) for p in running), time.monotonic())
        addresses = {p["metadata"]["name"]: ip for p in running if (ip := (p.get("status") or {}).get("podIP"))}
        if not self._still_good(known, addresses):
            await self._ask_all(known, addresses)
        now = time.monotonic()
        quiet = now - max(known.arrived, known.stepped)
        if not 0 < len(running) < least:
            known.short_since = None
        elif known.short_since is None:
            known.short_since = now
        return GroupSeen(
            run,
            attempt,
            known.progress,
            quiet_seconds=max(0.0, quiet),
            answering=known.answering,
            short_seconds=_since(known.short_since, now),
            cut_off_seconds=_since(known.cut_off_since, now),
            lease_seconds=known.lease,
        )

    def _still_good(self, known: _Known, addresses: Container[str]) -> bool:
        age = time.monotonic() - known.asked
        if known.speaker is None or known.cut_off_since is not None:
            return known.asked > 0 and age < SILENCE_SECONDS
        return known.speaker in addresses and age < self._interval * FRESH_SHARE

    async def _ask_all(self, known: _Known, addresses: dict[str, str]) -> None:
        """Ask the last rank 0; ask all if it is not rank 0 any more or gets no response from the rendezvous pod."""
        known.asked = now = time.monotonic()
        first = {name: ip for name, ip in addresses.items() if name == known.speaker}
        answers = await self._answers(first)
        spoke = _speaker(answers, known.run, known.attempt)
        if spoke is None or _cut_off(answers.values()):
            answers |= await self._answers({name: ip for name, ip in addresses.items() if name not in first})
            known.answering = len(answers)
            spoke = _speaker(answers, known.run, known.attempt)
        silent = _cut_off(answers.values())
        known.cut_off_since = now - silent if silent else None
        known.lease = max([known.lease, *(answer.rendezvous_lease_seconds or 0.0 for answer in answers.values())])
        if spoke:
            known.answering = max(1, known.answering)
            _note_progress(known, *spoke)
        elif _has_none(known, addresses, answers):
            known.speaker = known.progress = None

    async def silent(self, pods: Iterable[KubeObject]) -> frozenset[str]:
        """Names of the pods that respond to none of `LAST_TRIES` requests; includes pods without an address."""
        left = {pod["metadata"]["name"]: (pod.get("status") or {}).get("podIP") for pod in pods}
        asked = {name: address for name, address in left.items() if address}
        async with pod_http.session(self._timeout) as session:
            for _ in range(LAST_TRIES):
                answers = await asyncio.gather(*(self._ask(session, address) for address in asked.values()))
                for name, answer in zip(list(asked), answers, strict=True):
                    if answer:
                        del asked[name], left[name]
        return frozenset(left)

    async def preparing(self, pods: Sequence[KubeObject]) -> PrepareProgress | None:
        """How far those that prepare clips are, as told by the one that is furthest of the first few."""
        addresses = [(pod.get("status") or {}).get("podIP") for pod in pods][:MOST_PREPARERS_ASKED]
        async with pod_http.session(self._timeout) as session:
            answers = await asyncio.gather(
                *(self._fetch(session, address, PrepareProgress) for address in addresses if address)
            )
        known = [answer for answer in answers if answer and answer.total <= MAX_COUNT]
        return max(known, key=lambda answer: (answer.total, answer.done), default=None)

    def forget(self, key: Key) -> None:
        """Forget a training that does not run any more."""
        self._known.pop(key, None)

    async def _answers(self, addresses: dict[str, str]) -> dict[str, TrainerProgress]:
        if not addresses:
            return {}
        # A session per request, so that no connection has to be closed at the end.
        async with pod_http.session(self._timeout) as session:
            answers = await asyncio.gather(*(self._ask(session, address) for address in addresses.values()))
        return {name: answer for name, answer in zip(addresses, answers, strict=True) if answer}

    async def _ask(self, session: aiohttp.ClientSession, address: str) -> TrainerProgress | None:
        return await self._fetch(session, address, TrainerProgress)

    async def _fetch(self, session: aiohttp.ClientSession, address: str, kind: type[Answer]) -> Answer | None:
        try:
            async with session.get(
                f"{names.pod_origin(address, self._port)}/progress", allow_redirects=False
            ) as response:
                if response.status != 200:
                    return None
                body = await pod_http.whole(response, MAX_ANSWER_BYTES)
                return kind.model_validate_json(body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, UnsafeName):
            return None


def _since(when: float | None, now: float) -> float:
    return 0.0 if when is None else now - when


def _cut_off(answers: Iterable[TrainerProgress]) -> float:
    """Seconds since any of them last had a response from the rendezvous pod; 0 if one has it now, or none reports
    it."""
    silent = min((answer.rendezvous_silent_seconds or 0.0 for answer in answers), default=0.0)
    return silent if silent >= CUT_OFF_SECONDS else 0.0


def _note_arrivals(known: _Known, running: frozenset[str], now: float) -> None:
    if running - known.pods:
        # The group forms again with a new trainer.
        known.arrived = now
    known.pods = running


def _speaker(answers: Mapping[str, TrainerProgress], run: int, attempt: int) -> tuple[str, TrainerProgress] | None:
    speakers = [
        (name, answer)
        for name, answer in answers.items()
        if answer.rank == 0 and answer.world_size > 0 and (answer.run, answer.attempt) == (run, attempt)
    ]
    # A rank 0 that was cut off still reports an older round.
    return max(speakers, key=lambda speaker: speaker[1].round, default=None)


def _note_progress(known: _Known, pod: str, progress: TrainerProgress) -> None:
    now = time.monotonic()
    known.speaker, known.progress, known.heard = pod, progress, now
    if progress.step_age_seconds is not None:
        known.stepped = max(known.stepped, now - progress.step_age_seconds)
    elif progress.last_step_time is not None and progress.step != known.step:
        # A trainer of an older version reports times of its own clock: use the time at which a new step is seen.
        known.stepped = now
    known.step = progress.step


def _has_none(known: _Known, addresses: Container[str], answers: Mapping[str, TrainerProgress]) -> bool:
    """Whether the group of the last rank 0 has ended or has not responded for too long."""
    before = known.progress
    if before is None or known.speaker not in addresses or known.speaker in answers:
        return True
    newer = any(answer.round > before.round for answer in answers.values())
    return newer or time.monotonic() - known.heard > TOLERATED_SILENCE_SECONDS

"""Asking trainers over HTTP on loopback: who speaks for the group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kinema_api.wire import TrainerProgress
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.training.trainers import Trainers
from unit.operator.training.agents import Pods, pod

KEY = Key("VideoModelTraining", "team", "tiny")


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    made = Pods()
    await made.start(2)
    yield made
    await made.stop()


@pytest.fixture
def ask(pods: Pods) -> Any:
    """Ask pods 0..n-1 with no saving of requests."""
    trainers = Trainers(Settings(progress_interval_seconds=0), pods.port)

    async def progress(count: int = 2, run: int = 1, attempt: int = 1) -> TrainerProgress | None:
        return await trainers.progress(KEY, run, attempt, [pod(n) for n in range(count)])

    return progress


async def test_rank_zero_speaks_whatever_its_index(pods: Pods, ask: Any) -> None:
    pods.says(0, rank=1, step=4)
    pods.says(1, rank=0, step=5)
    found = await ask()
    assert found is not None
    assert found.step == 5
    pods.asked.clear()
    assert await ask() == found
    assert pods.asked == ["127.0.0.3"], "the speaker is known: nobody else is asked"


async def test_a_rank_zero_of_an_older_round_is_not_heard(pods: Pods, ask: Any) -> None:
    pods.says(0, rank=0, round=3, step=90)
    pods.says(1, rank=0, round=4, step=70)
    found = await ask()
    assert found is not None
    assert (found.round, found.step) == (4, 70)


async def test_nobody_speaks_for_another_attempt_or_before_the_first_round(pods: Pods, ask: Any) -> None:
    pods.says(0, rank=0, attempt=2)
    pods.says(1, rank=-1, round=0, world_size=0)
    assert await ask() is None
    assert await ask(0) is None


async def test_the_answer_moves_on_when_the_speaker_is_gone(pods: Pods) -> None:
    trainers = Trainers(Settings(), pods.port)
    pods.says(0, rank=0, step=5)
    pods.says(1, rank=1)
    first = await trainers.progress(KEY, 1, 1, [pod(0), pod(1)])
    pods.says(1, rank=0, round=2, step=6)
    second = await trainers.progress(KEY, 1, 1, [pod(1)])
    assert (first and first.step, second and second.step) == (5, 6)


async def test_rubbish_and_silence_are_no_answer(pods: Pods, ask: Any) -> None:
    pods.answers["127.0.0.2"] = "<html>"
    pods.answers["127.0.0.3"] = "x" * 100_000
    assert await ask() is None
    await pods.stop()
    assert await asyncio.wait_for(ask(), 10) is None


async def test_all_are_asked_when_the_speaker_does_not_hear_the_rendezvous(pods: Pods) -> None:
    trainers = Trainers(Settings(progress_interval_seconds=0), pods.port)
    both = [pod(0), pod(1)]
    pods.says(0, rank=0, rendezvous_silent_seconds=9.0)
    pods.says(1, rank=1, rendezvous_silent_seconds=8.0)
    assert 8.0 <= (await trainers.group(KEY, 1, 1, both)).cut_off_seconds < 60.0
    pods.says(1, rank=1, rendezvous_silent_seconds=0.4)
    assert (await trainers.group(KEY, 1, 1, both)).cut_off_seconds >= 8.0, "they are not asked more than once a second"
    alone = Trainers(Settings(progress_interval_seconds=0), pods.port)
    assert (await alone.group(KEY, 1, 1, both)).cut_off_seconds == 0, "one that hears it is enough"
    pods.says(1, rank=1)
    older = Trainers(Settings(progress_interval_seconds=0), pods.port)
    assert (await older.group(KEY, 1, 1, both)).cut_off_seconds == 0, "trainers that do not tell are believed well"


async def test_the_longest_lease_is_remembered_for_the_attempt(pods: Pods) -> None:
    trainers = Trainers(Settings(progress_interval_seconds=0), pods.port)
    both = [pod(0), pod(1)]
    pods.says(0, rank=0)
    assert (await trainers.group(KEY, 1, 1, both[:1])).lease_seconds == 0, "an older trainer does not tell"
    pods.says(0, rank=1, rendezvous_lease_seconds=7.0)
    pods.says(1, rank=0, round=2, rendezvous_lease_seconds=30.0)
    assert (await trainers.group(KEY, 1, 1, both[1:])).lease_seconds == 30.0
    assert (await trainers.group(KEY, 1, 1, both[:1])).lease_seconds == 30.0, (
        "who told of it may hold it, and be silent"
    )
    pods.says(0, attempt=2, rank=0, rendezvous_lease_seconds=7.0)
    assert (await trainers.group(KEY, 1, 2, both[:1])).lease_seconds == 7.0, "another attempt has another image"

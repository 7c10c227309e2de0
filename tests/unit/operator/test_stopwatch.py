"""Only the steps of a coroutine count, not what it waits for. The clock is a number here."""

from __future__ import annotations

import asyncio

import pytest

from kinema_operator.shell.stopwatch import Stopwatch


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_what_a_coroutine_waits_for_does_not_count() -> None:
    clock, opened = Clock(), asyncio.Event()
    watch = Stopwatch(clock)

    async def look() -> str:
        clock.now += 1
        await opened.wait()
        clock.now += 2
        await asyncio.sleep(0)
        clock.now += 4
        return "found"

    async def another() -> None:
        clock.now += 100
        opened.set()

    timed = asyncio.ensure_future(watch.time(look()))
    await asyncio.sleep(0)
    await another()
    assert await timed == "found"
    assert watch.seconds == 7


async def test_what_is_raised_passes_both_ways() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    seen: list[str] = []

    async def look() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            clock.now += 3
            raise

    task = asyncio.ensure_future(watch.time(look()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (seen, watch.seconds) == (["cancelled"], 3)

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await watch.time(fails())

"""Large files come in pieces, several at a time, and a failure costs the pieces that were missing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kinema_jobs.errors import FileUnusable, TransferFailed
from kinema_jobs.serve.pieces import fetch_file
from kinema_jobs.serve.settings import ServerSettings
from kinema_jobs.serve.transfer import Transfers, client_session

NAME = "vae/large.safetensors"
PIECE = 1000
DATA = bytes(range(256)) * 20
FIRSTS = list(range(0, len(DATA), PIECE))


@pytest.fixture
async def transfers(store: Any, settings: ServerSettings) -> AsyncIterator[Transfers]:
    store.objects[NAME] = DATA
    async with client_session(settings) as session:
        yield Transfers(session, settings)


async def fetch(transfers: Transfers, store: Any, target: Path, size: int = len(DATA)) -> bytes:
    seen: list[int] = []
    await fetch_file(transfers, NAME, store.url(NAME), target, size, seen.append, PIECE)
    assert sum(seen) == size
    return await asyncio.to_thread(target.read_bytes)


async def test_every_piece_is_fetched_once(transfers: Transfers, store: Any, tmp_path: Path) -> None:
    target = tmp_path / "folder" / "large.partial"
    await asyncio.to_thread(target.parent.mkdir)
    assert await fetch(transfers, store, target) == DATA
    assert sorted(first for _, first in store.ranges) == FIRSTS
    assert await asyncio.to_thread(os.listdir, target.parent) == ["large.partial"]


async def test_a_failure_costs_the_pieces_that_are_missing(
    store: Any, settings: ServerSettings, tmp_path: Path
) -> None:
    store.objects[NAME] = DATA
    in_order = settings.model_copy(update={"parallel_transfers": 1})

    def refuse_after_three(name: str, _first: int) -> None:
        if len(store.ranges) == 3:
            store.refuse.add(name)

    store.on_range = refuse_after_three
    async with client_session(in_order) as session:
        transfers = Transfers(session, in_order)
        with pytest.raises(TransferFailed, match="403"):
            await fetch(transfers, store, tmp_path / "large.partial")
        store.refuse.clear()
        assert await fetch(transfers, store, tmp_path / "large.partial") == DATA
    firsts = [first for _, first in store.ranges]
    assert firsts[:3] == FIRSTS[:3]
    assert not set(FIRSTS[:3]) & set(firsts[3:])


async def test_a_store_that_is_away_for_a_while_costs_nothing(transfers: Transfers, store: Any, tmp_path: Path) -> None:
    store.failures[NAME] = 3
    assert await fetch(transfers, store, tmp_path / "large.partial") == DATA


async def test_a_store_without_ranges_sends_the_file_whole(transfers: Transfers, store: Any, tmp_path: Path) -> None:
    store.without_ranges = True
    assert await fetch(transfers, store, tmp_path / "large.partial") == DATA


async def test_a_record_of_another_file_is_not_believed(transfers: Transfers, store: Any, tmp_path: Path) -> None:
    target = tmp_path / "large.partial"
    for record in ("[", "{}", '{"size": 7, "piece": 1000, "done": [0, 1000]}', '{"size": 5120, "piece": 1000}'):
        await asyncio.to_thread(target.with_name("large.partial.pieces").write_text, record)
        await asyncio.to_thread(target.unlink, missing_ok=True)
        assert await fetch(transfers, store, target) == DATA


async def test_a_file_that_is_not_there_is_refused(transfers: Transfers, store: Any, tmp_path: Path) -> None:
    del store.objects[NAME]
    with pytest.raises(FileUnusable, match="not in the object store"):
        await fetch(transfers, store, tmp_path / "large.partial")


async def test_a_file_that_is_shorter_than_promised_is_no_file(
    transfers: Transfers, store: Any, tmp_path: Path
) -> None:
    store.objects[NAME] = DATA[:-1]
    with pytest.raises(TransferFailed, match="ended early"):
        await fetch(transfers, store, tmp_path / "large.partial")

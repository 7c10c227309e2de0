"""Worlds in which an operator renders one clip."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from unit.operator.one_clip.world import World


@pytest.fixture
async def new_world(tmp_path: Path) -> AsyncIterator[Callable[[], World]]:
    """Makes worlds, each with a folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    worlds: list[World] = []

    def make() -> World:
        folder = tmp_path / f"world-{len(worlds)}"
        folder.mkdir()
        worlds.append(World(folder, port))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.close()

"""Worlds in which an operator renders one clip."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cluster.ports import free_port
from unit.operator.one_clip.world import World


@pytest.fixture
async def new_world(tmp_path: Path) -> AsyncIterator[Callable[[], World]]:
    """Makes worlds, each with a folder of its own."""
    port = free_port()
    worlds: list[World] = []

    def make() -> World:
        folder = tmp_path / f"world-{len(worlds)}"
        folder.mkdir()
        worlds.append(World(folder, port))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.close()

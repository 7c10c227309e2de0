"""Rounds of a training in the test's own process, or in as many as it has ranks, with real collectives."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from kinema_api.run import RunConfig
from kinema_jobs.rendezvous.questions import Place
from kinema_jobs.train.group import Group
from kinema_jobs.train.lease import Lease
from kinema_jobs.train.node import PRELOADED
from kinema_model.config import PRESETS

CLIP = PRESETS["tiny"].tokens_per_clip


def config(**changes: Any) -> RunConfig:
    """A small training of four steps."""
    fields: dict[str, Any] = {
        "namespace": "default",
        "name": "trial",
        "uid": "u",
        "run": 1,
        "attempt": 1,
        "model": {"preset": "tiny", "overrides": {"width": 24, "depth": 1, "heads": 2}},
        "data": {"world": {"seed": 7}},
        "optimization": {"steps": 4, "batchTokens": 2 * CLIP, "seed": 1},
        "checkpointEvery": 10,
    }
    return RunConfig.model_validate(fields | changes)


class Unasked(Group):
    """A round that no rendezvous is asked about."""

    def require_current(self) -> None:
        """It may always commit."""


def group(rank: int = 0, world: int = 1) -> Group:
    """One rank's view of a round."""
    place = Place("u/1/1", 1, "token", "me", rank, world, rank, world, "127.0.0.1:1")
    return Unasked(place, rank, world, 0, 1, torch.device("cpu"), "127.0.0.1:1", 30.0, None)


def lease(folder: Path) -> Lease:
    """One that holds for the test."""
    found = Lease(folder / "lease", create=True)
    found.grant(time.monotonic() + 600)
    return found


@contextmanager
def entered(rank: int, world: int, store: dist.Store) -> Iterator[Group]:
    """A process group, and what torchelastic tells a worker."""
    variables = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": 1, "GROUP_RANK": rank}
    variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}
    before = dict(os.environ)
    os.environ |= {name: str(value) for name, value in variables.items()}
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    try:
        yield group(rank, world)
    finally:
        dist.destroy_process_group()
        os.environ.clear()
        os.environ |= before


def process(target: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """A process that works on `target(*arguments)`, forked like an agent's workers where torch is imported already."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    made = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)
    made.start()
    return made


def on_ranks(world: int, folder: Path, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(group, folder of its own, *arguments)` returns on each rank, every one in a process of its own."""
    workers = [process(_rank, rank, world, folder, work, arguments) for rank in range(world)]
    for worker in workers:
        worker.join(120)
    return [pickle.loads((folder / str(rank) / "answer").read_bytes()) for rank in range(world)]


def _rank(rank: int, world: int, folder: Path, work: Callable[..., Any], arguments: Any) -> None:
    own = folder / str(rank)
    own.mkdir()
    with entered(rank, world, dist.FileStore(f"{folder}/store", world)) as here:
        (own / "answer").write_bytes(pickle.dumps(work(here, own, *arguments)))

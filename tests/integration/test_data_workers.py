"""Batches that processes make ahead are those that are made when they are needed; a process that ends is noticed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from kinema_jobs.train.failures import MemoryExhausted
from kinema_jobs.train.train_state import TrainState, fit, start_data_workers
from kinema_model.config import ModelConfig
from kinema_model.errors import DataWorkerLost
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.feed import DataWorkers, Feed, answer_of
from kinema_model.training.objective import TrainingObjective
from kinema_world import World
from kinema_world.source import WorldSource
from unit.jobs.rounds import CLIP, config, entered, lease, on_ranks
from unit.one_thread import one_thread as one_thread

CONFIG = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2)
PLANS = [("first", 0, [[0, 1], [2]]), ("empty", 1, []), ("third", 2, [[3]]), ("last", 3, [[4], [5], [6]])]


def objective() -> TrainingObjective:
    return TrainingObjective(CONFIG, TextEncoder(), WorldSource(World.fixed(7, 8, 24, 24, fps=8)), 1)


@pytest.fixture(scope="module")
def workers() -> Iterator[DataWorkers]:
    made = DataWorkers(objective, 2, "spawn")
    yield made
    made.close()


def test_processes_make_the_batches_that_one_makes(workers: DataWorkers) -> None:
    here, ahead = Feed(objective()), Feed(objective(), workers)
    for (name, one), (other_name, other) in zip(here.steps(PLANS), ahead.steps(PLANS), strict=True):
        assert name == other_name
        assert [batch.samples for batch in one] == [batch.samples for batch in other]
        for mine, theirs in zip(one, other, strict=True):
            (clean, noise), (far, far_noise) = mine.make(), theirs.make()
            assert torch.equal(clean.tokens, far.tokens)
            assert torch.equal(clean.token_levels, far.token_levels)
            assert torch.equal(clean.text, far.text)
            assert torch.equal(noise, far_noise)
    assert here.waited > 0
    assert ahead.waited > 0


def test_no_more_steps_are_asked_for_than_the_depth(workers: DataWorkers) -> None:
    asked: list[int] = []

    def plans() -> Iterator[tuple[int, int, list[list[int]]]]:
        for number in range(10):
            asked.append(number)
            yield number, number, [[number]]

    steps = Feed(objective(), workers, depth=3).steps(plans())
    next(steps)
    assert asked == [0, 1, 2, 3]
    next(steps)
    assert asked == [0, 1, 2, 3, 4]


def _end(objective: TrainingObjective) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_data_worker_that_was_killed_is_told_with_a_remedy() -> None:
    workers = DataWorkers(objective, 1, "spawn")
    with pytest.raises(DataWorkerLost, match="Use fewer data workers"):
        answer_of(workers.submit(_end))
    with pytest.raises(DataWorkerLost, match="Use fewer data workers"):
        answer_of(workers.submit(_end))
    workers.close()


PARENT = """
import os, time
from kinema_model.training.feed import DataWorkers, answer_of

def pid(objective):
    return os.getpid()

print(answer_of(DataWorkers(lambda: None, 1).submit(pid)), flush=True)
time.sleep(600)
"""


def is_running(process: Path) -> bool:
    """Whether a process of /proc has not ended; one that nobody waits for has."""
    with suppress(OSError):
        return "State:\tZ" not in (process / "status").read_text()
    return False


def test_a_data_worker_does_not_outlive_a_trainer_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = Path("/proc", parent.stdout.readline().strip())
        assert worker.is_dir()
        parent.kill()
        parent.wait(30)
    until = time.monotonic() + 30
    while is_running(worker):
        assert time.monotonic() < until, f"{worker} is still there"
        time.sleep(0.05)


def _trained(group: Any, folder: Path, workers: int) -> Any:
    run = config(optimization={"steps": 3, "batchTokens": 4 * CLIP, "seed": 1, "dataWorkers": workers})
    made = start_data_workers(run)
    state = TrainState.build(run, group, made)
    fit(state, group, lease(folder), lambda: None)
    if made is not None:
        # A process waits at its end for those that it started.
        made.close()
    return state.loss, sum(float(p.detach().double().abs().sum()) for p in state.learner.model.parameters())


def test_two_ranks_train_alike_with_and_without_data_workers(tmp_path: Path) -> None:
    without, ahead = tmp_path / "without", tmp_path / "ahead"
    without.mkdir()
    ahead.mkdir()
    assert on_ranks(2, without, _trained, 0) == on_ranks(2, ahead, _trained, 1)


def test_a_training_whose_data_worker_is_killed_ends_as_out_of_memory(tmp_path: Path) -> None:
    workers = DataWorkers(objective, 1, "spawn")
    with entered(0, 1, dist.HashStore()) as alone:
        state = TrainState.build(config(), alone, workers)
        with pytest.raises(DataWorkerLost):
            answer_of(workers.submit(_end))
        with pytest.raises(MemoryExhausted, match="a process that makes batches has ended"):
            fit(state, alone, lease(tmp_path), partial(int))
    workers.close()

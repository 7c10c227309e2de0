"""make bench NAME=feed: CPU seconds of a batch of training, made by the trainer itself and by two data workers.

A batch holds clips of all kinds of scenes and of all shapes that `ShapeMix` has, for the model "small". Seconds are of
processes, so a busy machine does not change them: `planning` is spent in the trainer in any case, `one_process` too by
a training without data workers. With workers `trainer` is what is left of it there, and `workers` what they spend
together, their start included.

Environment: KINEMA_BENCH_TOKENS (34000), KINEMA_BENCH_BATCHES (4), KINEMA_BENCH_WORKERS (2).
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kinema_model.config import ModelConfig
from kinema_model.packing.planning import StreamState
from kinema_model.packing.steps import Step, Steps
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.feed import DataWorkers, Feed
from kinema_model.training.objective import TrainingObjective
from kinema_world import World, WorldConfig
from kinema_world.source import WorldSource
from stage.measure import machine, result

TOKENS = int(os.environ.get("KINEMA_BENCH_TOKENS", "34000"))
BATCHES = int(os.environ.get("KINEMA_BENCH_BATCHES", "4"))
WORKERS = int(os.environ.get("KINEMA_BENCH_WORKERS", "2"))
CONFIG = ModelConfig.from_preset("small")


def objective() -> TrainingObjective:
    """Of the whole world."""
    return TrainingObjective(CONFIG, TextEncoder(), WorldSource(World(WorldConfig(seed=3, split="train"))), 1)


def planned() -> tuple[list[Step], float]:
    """All steps, and the CPU seconds of planning one."""
    begun = time.process_time()
    steps = list(Steps(objective().source, CONFIG, TOKENS).walk(0, BATCHES + 1, StreamState()))
    return steps, (time.process_time() - begun) / len(steps)


def alone(steps: list[Step]) -> float:
    """CPU seconds of a batch that the trainer makes; the first, which reads the text encoder, is not counted."""
    own = objective()
    own.batch(steps[0].samples, 0)
    begun = time.process_time()
    for step in steps[1:]:
        own.batch(step.samples, step.number)
    return (time.process_time() - begun) / BATCHES


def shared(steps: list[Step], workers: DataWorkers) -> tuple[float, float]:
    """CPU seconds of a batch in the trainer, and in its data workers together with what they need to begin."""
    begun = time.process_time()
    feed = Feed(objective(), workers)
    for _, batches in feed.steps((step, step.number, [list(step.samples)]) for step in steps):
        for batch in batches:
            batch.make()
    own = time.process_time() - begun
    workers.close()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own / len(steps), (usage.ru_utime + usage.ru_stime) / len(steps)


def main() -> int:
    """Measure and print."""
    torch.set_num_threads(1)
    workers = DataWorkers(objective, WORKERS)
    steps, planning = planned()
    trainer, others = shared(steps, workers)
    one = alone(steps)
    result(
        "feed",
        samples=BATCHES,
        machine=machine(),
        tokens=TOKENS,
        clips=round(sum(len(step.samples) for step in steps) / len(steps), 1),
        planning=round(planning, 3),
        one_process=round(one, 3),
        trainer=round(trainer, 4),
        workers=round(others, 3),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Seconds in which no step ran are told for what they were."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from stage.trainers import Trainers, tiny_training

pytestmark = pytest.mark.timeout(600)


def test_the_time_of_validation_is_told_apart_from_that_of_checkpoints(tmp_path: Path) -> None:
    group = Trainers(tmp_path, tiny_training(1_000_000, nodes=1), KINEMA_RENDEZVOUS_LOST_SECONDS="2")
    try:
        group.start_service()
        group.start(0)
        group.until(lambda: group.progress(0).checkpoint_stall_seconds > 0, "a checkpoint")
        with urllib.request.urlopen(f"http://127.0.0.1:{group.progress(0).port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    finally:
        group.close()
    told = {name: float(value) for name, _, value in (line.partition(" ") for line in lines if line[0] != "#")}
    assert told.get("kinema_training_validation_stall_seconds", 0) > 0, "validation holds up the steps, and is not told"
    assert told["kinema_training_checkpoint_stall_seconds"] > 0

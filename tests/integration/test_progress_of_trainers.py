"""What a real trainer tells whoever asks it how far it is."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from kinema_api.names import LEASE_SHARE
from kinema_api.wire import TrainerProgress
from stage.trainers import Trainers, tiny_training

pytestmark = pytest.mark.timeout(600)


def test_a_trainer_tells_the_lease_of_its_rendezvous(tmp_path: Path) -> None:
    group = Trainers(tmp_path, tiny_training(1_000_000, nodes=1), KINEMA_RENDEZVOUS_LOST_SECONDS="3")
    try:
        group.start_service()
        group.start(0)
        group.until(lambda: group.progress(0).step > 0, "a step")
        with urllib.request.urlopen(f"http://127.0.0.1:{group.progress(0).port}/progress", timeout=5) as answer:
            told = TrainerProgress.model_validate_json(answer.read())
    finally:
        group.close()
    assert told.rendezvous_lease_seconds == pytest.approx(3 * LEASE_SHARE)
    assert told.rendezvous_silent_seconds is not None
    assert told.rendezvous_silent_seconds < told.rendezvous_lease_seconds

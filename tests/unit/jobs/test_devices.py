"""A trainer has one worker for each GPU that its pod was given."""

from __future__ import annotations

import pytest

from kinema_api import launch
from kinema_jobs.train.failures import HardwareFailure
from kinema_jobs.train.node import workers
from kinema_jobs.train.settings import TrainerSettings


@pytest.mark.parametrize(
    ("given", "visible", "count"), [(None, 0, 1), (None, 1, 1), (None, 8, 8), (8, 8, 8), (2, 8, 2)]
)
def test_workers_follow_the_limit_else_what_is_visible(given: int | None, visible: int, count: int) -> None:
    assert workers(given, visible) == count


@pytest.mark.parametrize(("given", "visible"), [(8, 7), (1, 0)])
def test_a_node_that_lacks_gpus_is_broken(given: int, visible: int) -> None:
    with pytest.raises(HardwareFailure, match=f"given {given} GPUs and torch sees {visible}: check the node's driver"):
        workers(given, visible)


def test_it_is_told_by_its_environment() -> None:
    assert TrainerSettings.model_fields["devices"].validation_alias == launch.ENV_DEVICES

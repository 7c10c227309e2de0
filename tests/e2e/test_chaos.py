"""The short form of `make chaos`: a pair of faults, proven and survived."""

from __future__ import annotations

import random

import pytest

from chaos.matrix import Workload

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]


def test_a_worker_that_is_killed_while_the_api_server_is_away_costs_nothing_that_was_committed() -> None:
    with Workload("e2e-chaos", random.Random(0)) as workload:
        print(workload.inject(("worker killed", "API server away")))
        print(workload.conclude())

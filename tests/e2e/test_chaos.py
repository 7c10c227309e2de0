"""The short form of `make chaos`: a pair of faults and a tenant that lies, proven and survived."""

from __future__ import annotations

import random

import pytest

from chaos.matrix import Scene

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]


def test_a_killed_worker_beside_a_silent_store_and_a_lying_tenant_cost_nothing_that_was_committed() -> None:
    with Scene("e2e-chaos", random.Random(0)) as scene:
        for row in (("worker killed", "store silent"), ("forging tenant",)):
            print("+".join(row), scene.suffer(row))
        print(scene.conclude())

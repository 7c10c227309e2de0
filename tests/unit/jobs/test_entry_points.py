"""Operators of other versions start these modules by name in pods: a worker image keeps every one of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


POD_MODULES = (
    "kinema_jobs.prepare",
    "kinema_jobs.rendezvous",
    "kinema_jobs.serve",
    "kinema_jobs.train",
    "kinema_jobs.train.evaluation",
    "kinema_jobs.train.publication",
)


@pytest.mark.parametrize("module", POD_MODULES)
def test_a_module_that_pods_name_starts(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage" in done.stdout.lower()

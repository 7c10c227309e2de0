"""An agent that logs how a worker ended imports nothing on the way: survivors wait for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


PROGRAM = """
import sys
from torch.distributed.elastic.multiprocessing import api
{setup}
try:
    raise ValueError("exit code 75")
except ValueError:
    api.logger.exception("failed")
print("torch._dynamo" in sys.modules)
"""
PLAIN = "from kinema_jobs.train.torch_logs import use_plain_format; use_plain_format()"


@pytest.mark.parametrize(("setup", "imports"), [(PLAIN, "False"), ("", "True")])
def test_an_exception_is_logged_without_the_compiler(setup: str, imports: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(setup=setup)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ValueError: exit code 75" in done.stderr
    assert done.stdout.strip() == imports, "where torch does so no more, torch_logs.py can go"

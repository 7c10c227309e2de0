"""Faults strike the development cluster and nothing that runs the same programs beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stage.faults import cluster_processes

PROGRAM = "kube-apiserver"


@contextmanager
def running(program: Path, state: Path) -> Iterator[int]:
    """A process with the name of an API server that is told to keep its state in a folder; its id."""
    script = "import sys; print('started', flush=True); sys.stdin.read()"
    command = [str(program), "-c", script, f"--audit-log-path={state / 'audit' / 'audit.log'}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        yield process.pid


def test_an_api_server_of_the_integration_tests_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / ".cache" / "kinema"
    program = cache / "bin" / f"{PROGRAM}-1.34.4"
    program.parent.mkdir(parents=True)
    program.symlink_to(sys.executable)
    monkeypatch.setenv("KINEMA_CACHE", str(cache))
    with running(program, tmp_path / "tests") as other, running(program, cache / "cluster") as ours:
        assert other != ours
        assert cluster_processes(PROGRAM) == [ours]

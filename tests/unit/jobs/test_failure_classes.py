"""Failures that look alike get their own class: a lost peer, memory, a device, a disk and a store."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.distributed import DistBackendError
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.elastic.agent.server.api import RunResult, WorkerState
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.objectstores import open_store
from kinema_jobs.rendezvous.questions import Place
from kinema_jobs.train import agent as agents
from kinema_jobs.train import worker as workers
from kinema_jobs.train.agent import TrainingAgent
from kinema_jobs.train.assignment import Assignment
from kinema_jobs.train.failures import is_lost_peer, termination_message
from kinema_jobs.train.lease import Lease
from kinema_jobs.train.progress import ProgressFile, write_progress
from kinema_jobs.train.settings import TrainerSettings
from kinema_jobs.train.storage import RetryPolicy
from kinema_jobs.train.telemetry import Telemetry
from unit.jobs.rounds import config, lease, process

NCCL = "NCCL error in: ProcessGroupNCCL.cpp:2093, unhandled cuda error, NCCL version 2.29.3\n"


def class_of(error: BaseException) -> str:
    """What becomes of a worker that an exception ends."""
    return "lost peer" if is_lost_peer(error) else termination_message(error, 7).failure_class


@pytest.mark.parametrize(
    ("error", "class_"),
    [
        (DistBackendError("NCCL error: remote process exited or there was a network error"), "lost peer"),
        (RuntimeError("NCCL error: unhandled system error"), "lost peer"),
        (DistBackendError(f"{NCCL}Last error:\nCuda failure 2 'out of memory'"), "out_of_memory"),
        (RuntimeError("NCCL error: out of memory"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out_of_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "hardware"),
        (DistBackendError(f"{NCCL}Cuda failure 214 'uncorrectable ECC error encountered'"), "hardware"),
        (RuntimeError("CUDA error: uncorrectable NVLink error detected during the execution"), "hardware"),
        (RuntimeError("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."), "hardware"),
        (RuntimeError("NVRM: Xid (PCI:0000:3b:00): 48, Double Bit ECC Error"), "hardware"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "unknown"),
        (OSError(errno.ENOSPC, "No space left on device", "/scratch/x"), "hardware"),
        (OSError(errno.EIO, "Input/output error"), "hardware"),
        (OSError(errno.EROFS, "Read-only file system"), "hardware"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . No space left on device"), "hardware"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "unknown"),
    ],
)
def test_every_error_of_a_worker_has_its_failure_class(error: BaseException, class_: str) -> None:
    assert class_of(error) == class_


def test_a_full_disk_behind_another_error_is_seen() -> None:
    error = ValueError("the file cannot be written")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert class_of(error) == "hardware"


@pytest.mark.parametrize(("rank", "class_"), [(0, "lost peer"), (1, "hardware")])
def test_a_checkpoint_that_one_rank_could_not_write_is_that_ranks_fault_alone(
    rank: int, class_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", str(rank))
    full: Any = (OSError(errno.ENOSPC, "No space left on device"), None)
    assert class_of(CheckpointException("write", {1: full})) == class_


# The worker's process


def settings(folder: Path) -> TrainerSettings:
    return TrainerSettings.model_construct(
        progress_file=folder / "progress.json", monitor_seconds=0.1, fruitless_rounds=2, crashes=0
    )


def _abort(kind: str, assignment: Assignment) -> None:
    """A worker that is aborted while it takes part in a round."""
    os.environ["LOCAL_RANK"] = "0"
    libc = ctypes.CDLL(None)

    def struck(*_: Any) -> Any:
        if kind == "python":
            os.abort()
        thread = ctypes.c_ulong()
        libc.pthread_create(ctypes.byref(thread), None, ctypes.cast(libc.abort, ctypes.c_void_p), None)
        threading.Event().wait(60)

    workers._Worker.run = struck  # type: ignore[method-assign]
    workers.run_worker(assignment)


def agent_of(folder: Path, word: Path) -> tuple[TrainingAgent, Assignment]:
    place = Place("u/1/1", 1, "token", "me", 0, 1, 0, 1, "127.0.0.1:1")
    rule = lease(folder)
    assignment = Assignment(config(), settings(folder), place, rule.path, folder, word, 0)
    made = TrainingAgent.__new__(TrainingAgent)
    made.word, made.done = None, False
    made._settings, made._assignment, made._lease = settings(folder), assignment, Lease(rule.path)
    made._telemetry = Telemetry(folder / "progress.json", ProgressFile(run=1, attempt=1))
    made._rendezvous_handler = SimpleNamespace(place=place)  # type: ignore[assignment]
    made._fruitless = made._crashes = 0
    made._oom_kills = agents.failures.oom_kills()
    write_progress(folder / "progress.json", ProgressFile(run=1, attempt=1, round=1, steps_this_round=3))
    return made, assignment


def ended_with(made: TrainingAgent, code: int) -> RunResult | None:
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=code, error_file="none")
    return made._ended(RunResult(state=WorkerState.FAILED, failures={0: failure}), None)


@pytest.mark.parametrize(("kind", "goes_on"), [("library", True), ("python", False)])
def test_a_collective_that_nccls_watchdog_aborts_is_no_crash_of_the_worker(
    tmp_path: Path, kind: str, goes_on: bool
) -> None:
    made, assignment = agent_of(tmp_path, tmp_path / "word.json")
    worker = process(_abort, kind, assignment)
    worker.join(120)
    assert worker.exitcode == -signal.SIGABRT
    result = ended_with(made, worker.exitcode)
    assert (result is None) is goes_on, "no crashes are allowed; broken collectives are"
    assert (made.word is None) is goes_on


def test_the_class_of_a_worker_that_could_not_write_its_last_word_is_in_its_exit_code(tmp_path: Path) -> None:
    made, _ = agent_of(tmp_path, tmp_path / "word.json")
    assert ended_with(made, 45) is not None
    assert made.word is not None
    assert made.word.failure_class == "hardware"


def test_memory_that_runs_out_halves_the_pieces_before_it_ends_the_attempt(tmp_path: Path) -> None:
    word = tmp_path / "word.json"
    made, assignment = agent_of(tmp_path, word)
    (tmp_path / "pieces.json").write_text(json.dumps({"tokens": 300, "clip": 100, "learnt": False}))
    sizes = []
    for _ in range(3):
        word.write_text('{"failureClass": "out_of_memory", "message": "memory ran out"}')
        result = ended_with(made, 40)
        sizes.append(json.loads((assignment.scratch / "pieces.json").read_text())["tokens"])
    assert sizes == [150, 100, 100]
    assert result is not None
    assert made.word is not None
    assert made.word.failure_class == "out_of_memory"


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("step", "upload", "leaving", "waits"),
    [
        (1.0, 2.0, True, 20),
        (8.0, 12.0, True, 40),
        (30.0, 400.0, True, 50),
        (None, None, True, 50),
        (30.0, 400.0, False, 860),
    ],
)
def test_a_worker_is_given_the_time_that_its_step_and_its_upload_take(
    tmp_path: Path,
    step: float | None,
    upload: float | None,
    leaving: bool,
    waits: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within the pod's grace period if it has to leave; for a newcomer as long as it takes."""
    made, _ = agent_of(tmp_path, tmp_path / "word.json")
    made._settings = made._settings.model_copy(update={"leave_seconds": 20.0})
    progress = ProgressFile(run=1, attempt=1, round=1, step_seconds=step)
    write_progress(tmp_path / "progress.json", progress.model_copy(update={"checkpoint_seconds": upload}))
    clock = Clock()
    monkeypatch.setattr(agents, "time", clock)
    newcomer = SimpleNamespace(planned=True, reason="a newcomer waits")

    def notice(seconds: float) -> Any:
        clock.sleep(seconds)
        return None if leaving else newcomer

    made._asked_to_leave = leaving
    membership = SimpleNamespace(await_notice=notice, leaving=lambda: None)
    made._rendezvous_handler = SimpleNamespace(  # type: ignore[assignment]
        place=made._rendezvous_handler.place, membership=membership
    )
    monkeypatch.setattr(made, "_monitor_workers", lambda group: RunResult(state=WorkerState.HEALTHY))
    assert made._attend(SimpleNamespace()) is None  # type: ignore[arg-type]
    assert clock.now - 1000.0 == pytest.approx(waits, abs=1.0)


# A store that is none


@pytest.fixture(params=[200, 403, 503])
def page(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers everything with a page, as a proxy or a login does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if length := int(self.headers.get("Content-Length") or 0):
                self.rfile.read(length)
            body = b"<!doctype html><html><head><title>Sign in</title></head><body><br><p>Welcome</body></html>"
            self.send_response(request.param)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("what", ["list", "put", "get", "file"])
def test_a_page_instead_of_a_store_is_a_matter_of_the_store(page: str, what: str, tmp_path: Path) -> None:
    location = StoreLocation(endpoint=page, bucket="kinema", region="us-east-1")
    store = open_store(location, StoreCredentials(access_key="a" * 8, secret_key="b" * 16))
    (tmp_path / "file").write_bytes(b"x")
    requests = {
        "list": lambda: list(store.list("trainings/")),
        "put": lambda: store.put("trainings/x", b"x"),
        "get": lambda: store.get("trainings/x"),
        "file": lambda: store.put_file("trainings/x", tmp_path / "file"),
    }
    try:
        RetryPolicy(0)(requests[what])
        outcome = "nothing"
    except Exception as error:
        outcome = termination_message(error, None).failure_class
    # A page with 200 in answer to a read is bytes like any others: digests tell that they are none of ours.
    assert outcome == "network" or ("get" in what and outcome == "nothing")

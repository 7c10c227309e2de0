"""The small parts of a trainer: what a failure is called, what a lease allows, what a node tells."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest

from kinema_api import launch, objectstore
from kinema_api.errors import ObjectMissing, StorageUnreachable
from kinema_api.wire import TrainerProgress
from kinema_jobs.train import storage
from kinema_jobs.train.failures import (
    BadConfiguration,
    MemoryExhausted,
    NumericsFailure,
    StorageFailure,
    is_lost_peer,
    oom_kills,
    termination_message,
)
from kinema_jobs.train.lease import Lease
from kinema_jobs.train.progress import ProgressFile, read_progress, write_progress
from kinema_jobs.train.settings import TrainerSettings
from kinema_jobs.train.storage import RetryPolicy
from kinema_jobs.train.telemetry import Telemetry, serve


@pytest.mark.parametrize(
    ("error", "class_"),
    [
        (NumericsFailure("NaN"), "numerics"),
        (BadConfiguration("no"), "user_error"),
        (StorageFailure("away"), "network"),
        (MemoryExhausted("full"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (ZeroDivisionError("division by zero"), "unknown"),
    ],
)
def test_errors_have_a_class_and_a_sentence(error: BaseException, class_: str) -> None:
    word = termination_message(error, 7)
    assert (word.failure_class, word.step) == (class_, 7)
    assert word.message


def test_a_broken_collective_is_a_lost_peer_and_a_bug_is_not() -> None:
    assert is_lost_peer(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"))
    assert is_lost_peer(RuntimeError("NCCL error: unhandled system error"))
    assert not is_lost_peer(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_lost_peer(ValueError("gloo"))


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("0::/pod/box", "pod/box/memory.events"),
        ("0::/", "memory.events"),
        ("4:cpu,memory:/pod/box", "memory/pod/box/memory.oom_control"),
        ("4:memory:/not/seen/from/inside", "memory/memory.oom_control"),
    ],
)
def test_kills_for_memory_are_read_from_either_cgroup_version(tmp_path: Path, line: str, place: str) -> None:
    own = tmp_path / "cgroup"
    own.write_text(f"3:cpuset:/\n{line}\n")
    counter = tmp_path / "sys" / place
    counter.parent.mkdir(parents=True)
    counter.write_text("low 0\noom 5\noom_kill 3\noom_group_kill 1\n")
    assert oom_kills(tmp_path / "sys", own) == 3


def test_a_lease_is_seen_through_the_file(tmp_path: Path) -> None:
    agent = Lease(tmp_path / "lease", create=True)
    worker = Lease(tmp_path / "lease")
    assert not worker.held()
    agent.grant(time.monotonic() + 60)
    agent.ask_to_stop(True)
    assert worker.held()
    assert worker.stop_asked()
    agent.grant(time.monotonic() - 1)
    assert not worker.held()


def test_a_store_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.01)
    answers = iter([StorageUnreachable("away"), StorageUnreachable("away"), "here"])

    def request() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert RetryPolicy(60)(request) == "here"


def test_patience_ends_with_the_class_network_and_absence_is_an_answer() -> None:
    def away() -> None:
        raise StorageUnreachable("http://nowhere does not answer; try again")

    def missing() -> None:
        raise ObjectMissing("no such key")

    with pytest.raises(StorageFailure, match="http://nowhere does not answer"):
        RetryPolicy(0)(away)
    with pytest.raises(ObjectMissing):
        RetryPolicy(60)(missing)


def test_progress_metrics_and_health_are_served(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    telemetry = Telemetry(path, ProgressFile(run=1, attempt=2))
    server = serve(telemetry, 0)

    def get(what: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{what}") as answer:
            return answer.read().decode()

    try:
        assert TrainerProgress.model_validate_json(get("/progress")).round == 0
        now = time.time()
        telemetry.round_ended("loss")
        write_progress(
            path,
            ProgressFile(
                run=1,
                attempt=2,
                round=3,
                rank=0,
                step=42,
                loss=0.5,
                tokens_per_second=9.0,
                first_step_time=now + 60,
                data_wait_seconds=1.5,
                checkpoint_seconds=0.25,
            ),
        )
        answer = json.loads(get("/progress"))
        assert (answer["step"], answer["round"]) == (42, 3)
        assert "firstStepTime" not in answer
        metrics = get("/metrics")
        for line in (
            "kinema_training_step 42.0",
            "kinema_training_loss 0.5",
            "kinema_training_tokens_per_second 9.0",
            "kinema_training_data_wait_seconds 1.5",
            "kinema_training_checkpoint_seconds 0.25",
            'kinema_training_recoveries_total{reason="loss"} 1.0',
        ):
            assert line in metrics
        assert get("/healthz") == "ok\n"
    finally:
        server.shutdown()


def test_a_torn_progress_file_is_no_progress(tmp_path: Path) -> None:
    (tmp_path / "p").write_text('{"run": 1, "att')
    assert read_progress(tmp_path / "p") is None


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (launch.ENV_RENDEZVOUS, launch.ENV_PROGRESS_FILE, objectstore.ENV_ENDPOINT):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadConfiguration, match=r"environment variable KINEMA_\w+: field required; the operator"):
        TrainerSettings.from_environment()

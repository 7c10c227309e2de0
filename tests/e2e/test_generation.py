"""Clips on the real cluster: from zero replicas, through killed and frozen servers, to one committed file."""

from __future__ import annotations

import hashlib
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from stage import faults, kube, runs
from stage.objects import short_clip

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def reached(name: str, namespace: str, phase: str, seconds: float = 300) -> dict[str, Any]:
    """The status once the request is in `phase`; fails at once if it has ended otherwise."""

    def check() -> dict[str, Any] | None:
        status = (kube.get("vgen", name, namespace) or {}).get("status", {})
        if status.get("phase") in {"Succeeded", "Failed", "Cancelled"} - {phase}:
            pytest.fail(runs.explain("vgen", name, namespace))
        return status if status.get("phase") == phase else None

    return kube.until(check, f"{phase} of {name}", seconds, poll=0.2)


def download(name: str, namespace: str, field: str = "video") -> bytes:
    """A file of a generation, fetched as a person does."""
    with tempfile.TemporaryDirectory() as folder:
        return kube.download(name, namespace, field, Path(folder) / field).read_bytes()


def server_uid(status: dict[str, Any], namespace: str) -> str:
    """UID of the pod that an attempt was given to."""
    return str((kube.get("pod", status["server"], namespace) or {})["metadata"]["uid"])


def test_a_clip_is_served_from_zero_and_opens_from_outside(published: tuple[str, str]) -> None:
    namespace, model = published
    kube.apply(short_clip("first", model, seed=5), namespace)
    status = reached("first", namespace, "Succeeded")
    assert "url" not in status["video"]
    clip = download("first", namespace)
    assert hashlib.sha256(clip).hexdigest() == status["video"]["sha256"]
    assert clip[4:8] == b"ftyp"
    assert clip.index(b"moov") < clip.index(b"mdat")
    assert status["video"]["size"] == "24x24"
    assert status["seed"] == 5
    for field in ("thumbnail", "spritesheet"):
        assert download("first", namespace, field)[8:12] == b"WEBP"


def test_a_killed_server_is_replaced_and_one_result_stands(published: tuple[str, str]) -> None:
    namespace, model = published
    kube.apply(short_clip("killed", model, steps=200, seed=1), namespace)
    status = reached("killed", namespace, "Running")
    assert faults.kill_pod(server_uid(status, namespace)) > 0
    ended = reached("killed", namespace, "Succeeded")
    assert ended["attempt"] > status["attempt"]
    assert hashlib.sha256(download("killed", namespace)).hexdigest() == ended["video"]["sha256"]


def test_a_frozen_server_that_wakes_up_changes_no_byte(published: tuple[str, str]) -> None:
    namespace, model = published
    kube.apply(short_clip("frozen", model, steps=200, seed=2), namespace)
    status = reached("frozen", namespace, "Running")
    uid = server_uid(status, namespace)
    assert faults.signal_pod(uid, signal.SIGSTOP) > 0
    ended = reached("frozen", namespace, "Succeeded")
    before = download("frozen", namespace)
    faults.signal_pod(uid, signal.SIGCONT)
    kube.until(lambda: not faults.pod_processes(uid), "the end of the woken server", 180)
    assert download("frozen", namespace) == before
    assert hashlib.sha256(before).hexdigest() == ended["video"]["sha256"]


def test_a_cancelled_request_ends(published: tuple[str, str]) -> None:
    namespace, model = published
    kube.apply(short_clip("unwanted", model, steps=200), namespace)
    reached("unwanted", namespace, "Running")
    kube.kubectl("patch", "vgen", "unwanted", "-n", namespace, "--type=merge", "-p", '{"spec":{"cancel":true}}')
    reached("unwanted", namespace, "Cancelled", seconds=60)


def test_a_model_that_is_not_there_is_waited_for(published: tuple[str, str]) -> None:
    namespace, _ = published
    kube.apply(short_clip("early", "not-there"), namespace)

    def waits() -> bool:
        status = (kube.get("vgen", "early", namespace) or {}).get("status", {})
        return status.get("phase") == "Pending" and any(c["reason"] == "ModelNotFound" for c in status["conditions"])

    assert kube.until(waits, "a reason to wait", 60)


def test_servers_end_when_nobody_asks(published: tuple[str, str]) -> None:
    namespace, model = published
    kube.kubectl(
        "patch", "vmodel", model, "-n", namespace, "--type=merge", "-p", '{"spec":{"serving":{"idleSeconds":1}}}'
    )
    kube.kubectl("delete", "vgen", "early", "-n", namespace, "--ignore-not-found")
    kube.until(
        lambda: not kube.items("pods", namespace, "app.kubernetes.io/component=server"), "servers scaled to zero", 120
    )

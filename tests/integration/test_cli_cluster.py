"""The command against a real API server; the test writes the statuses that the operator would."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from kinema_api import generation, names, training
from kinema_api.base import utc_now
from kinema_cli.cluster import Cluster
from kinema_cli.main import main

pytestmark = pytest.mark.apiserver

SAMPLE = Path(__file__).parents[2] / "manifests/samples/training.yaml"
NAME = "tiny-world"
Kinema = Callable[..., Result]


@pytest.fixture
def cluster(server: Any, namespace: str) -> Cluster:
    return Cluster.connect(str(server.kubeconfig), None, namespace)


@pytest.fixture
def kinema(server: Any, namespace: str) -> Kinema:
    def invoke(command: str, *arguments: str) -> Result:
        where = ["--kubeconfig", str(server.kubeconfig), "-n", namespace]
        return CliRunner().invoke(main, [command, *where, *arguments])

    return invoke


def write_status(cluster: Cluster, plural: str, name: str, status: dict[str, Any]) -> None:
    """What the operator does."""
    found = cluster.get(plural, name)
    full = {"observedGeneration": found["metadata"]["generation"], **status}
    cluster._objects.patch_namespaced_custom_object_status(
        *("kinema.dev", "v1alpha1", cluster.namespace, plural, name),
        {"status": full},
        _content_type="application/merge-patch+json",
    )


def failed(message: str) -> dict[str, Any]:
    moment = utc_now().isoformat()
    condition = {"type": "Failed", "status": "True", "reason": "UserError", "message": message}
    return {"phase": "Failed", "conditions": [{**condition, "lastTransitionTime": moment}]}


def test_train_applies_and_applying_again_changes_nothing(kinema: Kinema, cluster: Cluster) -> None:
    first = kinema("train", str(SAMPLE))
    assert first.exit_code == 0, first.output
    assert "applied" in first.stdout
    before = cluster.get(training.PLURAL, NAME)
    second = kinema("train", str(SAMPLE), "--json")
    assert json.loads(second.stdout)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_train_waits_for_the_end_and_says_how_it_ended(kinema: Kinema, cluster: Cluster) -> None:
    kinema("train", str(SAMPLE))
    digest = "sha256:" + "a" * 64
    published = {"digest": digest, "uri": "s3://kinema/models/a"}
    write_status(cluster, training.PLURAL, NAME, {"phase": "Succeeded", "run": 1, "published": published})
    done = kinema("train", str(SAMPLE), "--wait")
    assert done.exit_code == 0, done.output
    assert digest in done.stdout

    write_status(cluster, training.PLURAL, NAME, failed("steps diverged; lower the learning rate"))
    done = kinema("train", str(SAMPLE), "--wait")
    assert done.exit_code == 1
    assert "lower the learning rate" in done.stderr


def test_train_follows_progress_of_the_new_run_only(kinema: Kinema, cluster: Cluster) -> None:
    kinema("train", str(SAMPLE))
    write_status(cluster, training.PLURAL, NAME, {"phase": "Succeeded", "run": 1})
    applied = threading.Event()

    def operator() -> None:
        while cluster.get(training.PLURAL, NAME)["spec"].get("runId") != "again":
            pass
        applied.set()
        progress = {"step": 400, "totalSteps": 800, "loss": 0.5}
        write_status(cluster, training.PLURAL, NAME, {"phase": "Training", "runId": "again", "progress": progress})
        write_status(cluster, training.PLURAL, NAME, {"phase": "Succeeded", "runId": "again", "run": 2})

    thread = threading.Thread(target=operator)
    thread.start()
    done = kinema("train", str(SAMPLE), "--wait", "--run-id", "again", "--json")
    thread.join()
    assert applied.is_set()
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["status"]["run"] == 2


def test_train_times_out_with_4(kinema: Kinema) -> None:
    done = kinema("train", str(SAMPLE), "--wait", "--timeout", "0")
    assert done.exit_code == 4
    assert "continues" in done.stderr


def test_train_does_not_undo_what_others_scaled(kinema: Kinema, cluster: Cluster) -> None:
    kinema("train", str(SAMPLE))
    cluster._objects.patch_namespaced_custom_object_scale(
        *("kinema.dev", "v1alpha1", cluster.namespace, training.PLURAL, NAME),
        {"spec": {"replicas": 3}},
        _content_type="application/merge-patch+json",
        field_manager="kubectl",
    )
    refused = kinema("train", str(SAMPLE))
    assert refused.exit_code == 2
    assert "--force-conflicts" in refused.stderr
    taken = kinema("train", str(SAMPLE), "--force-conflicts", "--json")
    assert json.loads(taken.stdout)["spec"]["nodes"] == 2


def test_what_only_the_api_server_refuses_is_2(kinema: Kinema, tmp_path: Path) -> None:
    body = yaml.safe_load(SAMPLE.read_text())
    body["spec"]["nodes"] = 9
    file = tmp_path / "training.yaml"
    file.write_text(yaml.safe_dump(body))
    refused = kinema("train", str(file))
    assert refused.exit_code == 2
    assert "change nodes or the bounds" in refused.stderr

    body["spec"]["nodes"] = 2
    body["spec"]["nodez"] = 2
    file.write_text(yaml.safe_dump(body))
    refused = kinema("train", str(file))
    assert refused.exit_code == 2
    assert "nodez" in refused.stderr


def test_get_shows_the_columns_of_kubectl(kinema: Kinema, cluster: Cluster) -> None:
    empty = kinema("get")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "nothing in namespace" in empty.stderr
    kinema("train", str(SAMPLE))
    write_status(cluster, training.PLURAL, NAME, {"phase": "Training", "attempt": 2})
    listed = kinema("get", "trainings")
    assert listed.stdout.splitlines()[0].split()[:3] == ["VIDEOMODELTRAININGS", "PHASE", "STEP"]
    assert listed.stdout.splitlines()[1].split()[:2] == [NAME, "Training"]
    assert NAME in kinema("get", "-A").stdout
    one = kinema("get", "trainings", NAME)
    assert f"/{NAME}: Training" in one.stdout
    assert [o["metadata"]["name"] for o in json.loads(kinema("get", "--json").stdout)] == [NAME]
    assert json.loads(kinema("get", "trainings", NAME, "--json").stdout)["kind"] == training.KIND


def test_what_does_not_exist_is_1(kinema: Kinema) -> None:
    for command in (["get", "generations", "nobody"], ["cancel", "nobody"], ["logs", "nobody"]):
        done = kinema(*command)
        assert done.exit_code == 1, done.output
        assert "nobody" in done.stderr


def start_pod(cluster: Cluster, name: str, component: str, attempt: int) -> None:
    """A pod of the training that has started, as far as the API server knows."""
    labels = {
        names.LABEL_TRAINING: NAME,
        names.LABEL_COMPONENT: component,
        names.LABEL_RUN: "1",
        names.LABEL_ATTEMPT: str(attempt),
    }
    pod = {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
    cluster._core.create_namespaced_pod(cluster.namespace, pod)
    cluster._core.patch_namespaced_pod_status(name, cluster.namespace, {"status": {"phase": "Succeeded"}})


def test_logs_shows_all_pods_that_work_on_the_newest_attempt(
    kinema: Kinema, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log(_: Cluster, pod: str, *, follow: bool) -> Iterator[str]:
        yield f"said by {pod}"  # only a kubelet has logs

    monkeypatch.setattr(Cluster, "log", log)
    start_pod(cluster, "before", names.COMPONENT_PUBLISHER, 1)
    start_pod(cluster, "rendezvous", names.COMPONENT_STORE, 2)
    working = [names.COMPONENT_TRAINER, names.COMPONENT_EVALUATOR, names.COMPONENT_PUBLISHER]
    for component in working:
        start_pod(cluster, component, component, 2)
    done = kinema("logs", NAME)
    assert done.exit_code == 0, done.output
    assert sorted(done.stdout.splitlines()) == sorted(f"{pod}: said by {pod}" for pod in working)


def test_generate_downloads_what_the_status_names(
    kinema: Kinema, cluster: Cluster, tmp_path: Path, minio_endpoint: str
) -> None:
    from datetime import timedelta

    from minio import Minio

    from kinema_api.objectstore import StoreCredentials, StoreLocation
    from kinema_api.objectstores import open_store

    keys = StoreCredentials(access_key="kinema-test", secret_key="kinema-test-secret")
    Minio(minio_endpoint.removeprefix("http://"), keys.access_key, keys.secret_key, secure=False).make_bucket(
        bucket_name="clips"
    )
    store = open_store(StoreLocation(endpoint=minio_endpoint, bucket="clips"), keys)
    clip = b"an MP4"
    store.put("video.mp4", clip)
    video = {
        "uri": store.uri("video.mp4"),
        "url": store.presign_get("video.mp4", timedelta(minutes=5), public=True),
        "sha256": hashlib.sha256(clip).hexdigest(),
        "bytes": len(clip),
        "seconds": 1,
        "size": "24x24",
        "fps": 8,
    }
    seen: list[dict[str, Any]] = []

    def operator() -> None:
        while not (found := cluster.listing(generation.PLURAL, everywhere=False)["items"]):
            pass
        seen.extend(found)
        name = found[0]["metadata"]["name"]
        write_status(cluster, generation.PLURAL, name, {"phase": "Succeeded", "video": video, "seed": 7})

    thread = threading.Thread(target=operator)
    thread.start()
    out = tmp_path / "clip.mp4"
    done = kinema("generate", "a red square", "--model", NAME, "--size", "24x24", "--out", str(out), "--json")
    thread.join()
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == clip
    report = json.loads(done.stdout)
    assert (report["path"], report["seed"], report["sha256"]) == (str(out), 7, video["sha256"])
    assert seen[0]["spec"]["prompt"] == "a red square"
    assert seen[0]["spec"]["size"] == "24x24"


def test_generate_that_fails_or_times_out(kinema: Kinema, cluster: Cluster) -> None:
    waiting = kinema("generate", "a red square", "--model", NAME, "--name", "clip", "--timeout", "0")
    assert waiting.exit_code == 4
    again = kinema("generate", "a red square", "--model", NAME, "--name", "clip")
    assert again.exit_code == 2
    assert "choose another name" in again.stderr


def test_cancel_asks_the_generation_to_stop(kinema: Kinema, cluster: Cluster) -> None:
    kinema("generate", "a red square", "--model", NAME, "--name", "clip", "--timeout", "0")
    done = kinema("cancel", "clip")
    assert done.exit_code == 0, done.output
    assert cluster.get(generation.PLURAL, "clip")["spec"]["cancel"] is True

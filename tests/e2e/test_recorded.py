"""From a bucket of videos to a clip: prepared on the cluster though a pod is killed, trained on, served; and shared."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import av
import pytest
import yaml

from e2e.conftest import finished
from kinema_api import layout, names
from kinema_api.errors import StorageDenied
from kinema_api.objectstore import StoreCredentials
from kinema_api.objectstores import open_store
from stage import faults, install, kube, runs
from unit.jobs.prepare.material import REAL, real

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

FOLDER = f"clips-{uuid.uuid4().hex[:8]}"
"""Of this session: datasets outlive the namespace, and so would what an earlier session prepared."""
TRAINING = """
apiVersion: kinema.dev/v1alpha1
kind: VideoModelTraining
metadata: {name: rivers}
spec:
  model: {preset: tiny, overrides: {width: 32, depth: 1, heads: 2, size: 32x24}}
  data: {videos: [{uri: s3://kinema/inputs/NAMESPACE/FOLDER/}]}
  optimization: {steps: 20, batchTokens: 1024}
  nodes: 2
  publish: {model: rivers}
"""


def preparers(namespace: str, name: str = "rivers") -> list[dict[str, Any]]:
    """Running pods that prepare a training's clips."""
    selector = f"{names.LABEL_TRAINING}={name},{names.LABEL_COMPONENT}={names.COMPONENT_PREPARER}"
    return [
        pod
        for pod in kube.items("pods", namespace, selector)
        if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    ]


def training(namespace: str, name: str = "rivers") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(
        TRAINING.replace("NAMESPACE", namespace).replace("FOLDER", FOLDER).replace("rivers", name)
    )
    return found


def condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    return next(found for found in status["conditions"] if found["type"] == type_)


@pytest.fixture(scope="module")
def clips(namespace: str) -> str:
    """The three real clips with a caption each, uploaded as a person would."""
    store = install.store()
    for name in REAL:
        store.put(f"{layout.inputs_prefix(namespace)}{FOLDER}/{name}.mp4", real(name))
        store.put(f"{layout.inputs_prefix(namespace)}{FOLDER}/{name}.txt", f"a clip of {name}".encode())
    return namespace


@pytest.fixture(scope="module")
def trained(clips: str) -> dict[str, Any]:
    """The status of the training once it has ended, one of whose preparing pods was killed."""
    kube.apply(training(clips), clips)
    first = kube.until(lambda: preparers(clips), "a pod that prepares clips", 300)[0]
    assert runs.training_status("rivers", clips)["phase"] == "Preparing"
    assert faults.kill_pod(first["metadata"]["uid"]) > 0
    return finished("rivers", clips, seconds=1200)


def test_clips_are_prepared_before_the_first_attempt(trained: dict[str, Any], clips: str) -> None:
    assert (trained["attempt"], trained.get("restarts", {})) == (1, {})
    (dataset,) = trained["dataset"]["datasets"]
    assert dataset["uri"] == f"s3://kinema/inputs/{clips}/{FOLDER}/"
    assert (dataset["inputs"], dataset["reused"]) == (3, False)
    assert dataset["samples"] >= 3
    assert condition(trained, "Prepared")["reason"] == "Prepared"
    page = trained["dataset"]["reportUri"].removeprefix("s3://kinema/")
    assert install.store().get(page).lower().startswith(b"<!doctype")
    assert kube.get("job", "rivers-r1-prepare", clips) is None
    kube.kubectl("wait", "--for=condition=Prepared", "vmt/rivers", "-n", clips, "--timeout=10s")


def test_the_model_that_they_taught_makes_a_clip(trained: dict[str, Any], clips: str, tmp_path: Path) -> None:
    install.let_download(clips)
    scripts = str(Path(sys.executable).parent)
    out = tmp_path / "clip.mp4"
    told = ["a clip of bikes", "--model", "rivers", "--namespace", clips, "--out", str(out)]
    done = subprocess.run(
        [f"{scripts}/kinema", "generate", *told, "--timeout", "600"],
        env=os.environ | {"KUBECONFIG": kube.kubeconfig()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with av.open(str(out)) as clip:
        stream = clip.streams.video[0]
        assert (stream.width, stream.height) == (32, 24)
    card = install.store().get(layout.model_prefix(trained["published"]["digest"]) + "card.md").decode()
    assert trained["dataset"]["datasets"][0]["digest"] in card


def test_a_second_training_has_the_dataset_at_once_and_is_judged_on_it(trained: dict[str, Any], clips: str) -> None:
    again = training(clips, "again")
    again["spec"]["evaluation"] = {"clips": 4}
    kube.apply(again, clips)
    status = finished("again", clips, seconds=1200)
    assert status["evaluation"]["modelDigest"] == status["published"]["digest"]
    assert status["dataset"]["digest"] == trained["dataset"]["digest"]
    assert status["dataset"]["datasets"][0]["reused"] is True
    assert condition(status, "Prepared")["reason"] == "Reused"


def test_trainers_read_their_dataset_and_write_none(trained: dict[str, Any], clips: str) -> None:
    """With the keys that the trainers had, as long as these are good."""
    secret = kube.get("secret", names.storage_secret_name("rivers"), clips)
    assert secret is not None
    keys = StoreCredentials.model_validate_json(base64.b64decode(secret["data"][names.STORAGE_CREDENTIALS_KEY]))
    pod = open_store(install.store().location, keys)
    prefix = trained["dataset"]["datasets"][0]["prefix"]
    assert pod.get(f"{prefix}dataset.json")
    for refused in (
        lambda: pod.put(f"{prefix}dataset.json", b"{}"),
        lambda: pod.get(f"inputs/{clips}/{FOLDER}/bikes.txt"),
        lambda: list(pod.list(f"datasets/{clips}/")),
    ):
        with pytest.raises(StorageDenied):
            refused()

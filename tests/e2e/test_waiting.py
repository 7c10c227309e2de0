"""What may yet appear is waited for with a reason; what can never become right is Failed with a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.conftest import finished, training
from stage import faults, install, kube, runs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
PATIENT_STEPS = 120
AWAY_SECONDS = 40.0
"""Longer than any call to a store may take."""


@pytest.fixture(scope="module", autouse=True)
def odd(namespace: str) -> None:
    """A training that can never run. It is begun first: it fails while other tests wait."""
    bad = training("odd", 20)
    bad["spec"]["data"]["world"]["scenes"] = {"bounce": 1}
    kube.apply(bad, namespace)


def store_spec(secret: str, bucket: str = "kinema") -> dict[str, Any]:
    """An artefact store of the training's own."""
    endpoint = f"http://minio.{install.SYSTEM}.svc:9000"
    return {"endpoint": endpoint, "bucket": bucket, "secretRef": {"name": secret}}


def secret(name: str, access: str, key: str) -> dict[str, Any]:
    """A Secret with the keys of a store."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"kinema.dev/store-keys": "true"}},
        "stringData": {"accessKey": access, "secretKey": key},
    }


def reason(name: str, namespace: str) -> str:
    """Why a training does not run yet."""
    conditions = runs.training_status(name, namespace).get("conditions", [])
    return " ".join(f"{c['reason']}: {c['message']}" for c in conditions if c["status"] != "True")


def waits_with(name: str, namespace: str, word: str) -> None:
    """Await Pending with a reason that holds `word`."""
    kube.until(lambda: word in reason(name, namespace), f"{word} as the reason of {name}", 90)
    assert runs.training_status(name, namespace)["phase"] == "Pending"


def test_a_namespace_that_is_closed_a_missing_secret_wrong_keys_and_a_missing_bucket_are_waited_for(
    namespace: str,
) -> None:
    kube.apply(training("late", 20, artifactStore=store_spec("keys", "later")), namespace)
    waits_with("late", namespace, "ClusterRole kinema-operator-secrets")
    account = f"--serviceaccount={install.SYSTEM}:kinema-operator"
    kube.kubectl("create", "rolebinding", "kinema", "--clusterrole=kinema-operator-secrets", account, "-n", namespace)
    waits_with("late", namespace, "SecretMissing")
    kube.apply(secret("keys", "nobody", "wrong-wrong"), namespace)
    waits_with("late", namespace, "Denied")
    admin = install.store_keys()
    kube.apply(secret("keys", admin.access_key, admin.secret_key), namespace)
    waits_with("late", namespace, "Bucket")
    install.make_bucket("later")
    finished("late", namespace)


def test_a_configuration_that_can_never_run_fails_at_once_with_the_trainers_sentence(namespace: str) -> None:
    status = finished("odd", namespace, "Failed", seconds=180)
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert "data.world.scenes and shapes do not fit the clip of the preset 'tiny'" in failed["message"]
    assert status["attempt"] == 1


def test_a_store_that_is_away_for_a_while_loses_nothing(namespace: str) -> None:
    kube.apply(training("patient", PATIENT_STEPS), namespace)
    kube.until(lambda: runs.stepping("patient", namespace, 2), "two stepping workers", 180)
    pod = next(p for p in kube.items("pods", install.SYSTEM) if p["metadata"]["name"].startswith("minio"))
    with faults.paused(pod["metadata"]["uid"], seconds=AWAY_SECONDS):
        pass
    status = finished("patient", namespace)
    assert status["attempt"] == 1
    assert status["progress"]["step"] == PATIENT_STEPS


def test_gpu_workers_land_only_where_a_gpu_is(namespace: str) -> None:
    resources = {"limits": {"nvidia.com/gpu": 1}}
    kube.apply(training("on-gpu", 20, nodes=1, worker={"resources": resources}), namespace)
    selector = "kinema.dev/training=on-gpu,app.kubernetes.io/component=trainer"
    pods = kube.until(lambda: kube.items("pods", namespace, selector), "a trainer pod", 60)
    assert pods[0]["spec"].get("nodeName") is None
    install.cluster_tool("gpu", "node2", "1")
    placed = kube.until(
        lambda: [p for p in kube.items("pods", namespace, selector) if p["spec"].get("nodeName")],
        "a placed trainer",
        60,
    )
    assert {p["spec"]["nodeName"] for p in placed} == {"node2"}
    kube.kubectl("delete", "vmt", "on-gpu", "-n", namespace)
    install.cluster_tool("gpu", "node2", "0")

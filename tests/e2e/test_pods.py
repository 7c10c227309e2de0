"""A training with a pod template on the real cluster: its pods have what it says, and it trains."""

from __future__ import annotations

import pytest

from e2e.conftest import training
from kinema_api import names
from stage import kube, runs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
NAME = "placed"
STEPS = 1_000_000
"""It goes on for as long as it is looked at."""
TEMPLATE = {
    "labels": {"example.com/team": "video"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "env": [{"name": "EXAMPLE", "value": "$(HOME)"}],
    "sharedMemorySize": "64Mi",
    "volumes": [
        {"name": "scratch", "mountPath": "/mnt/scratch", "emptyDir": {"sizeLimit": "16Mi"}},
        {"name": "settings", "mountPath": "/mnt/settings", "configMap": {"name": "settings"}},
    ],
}


def test_a_training_with_a_template_has_what_it_says(namespace: str) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"key": "said"}}
    kube.apply(config, namespace)
    wanted = training(NAME, STEPS, worker={"podTemplate": TEMPLATE})
    wanted["metadata"]["labels"] = {"example.com/cost-centre": "7"}
    kube.apply(wanted, namespace)
    kube.until(lambda: runs.stepping(NAME, namespace, 2), "two stepping workers", 240)
    pod = runs.trainer_pods(NAME, namespace)[0].name
    script = "echo $EXAMPLE; cat /mnt/settings/key; echo; touch /mnt/scratch/x && echo written"
    said = kube.kubectl("exec", pod, "-n", namespace, "--", "sh", "-c", script)
    assert said.split() == ["$(HOME)", "said", "written"]
    found = kube.get("pod", pod, namespace) or {}
    labels = {"example.com/team": "video", "example.com/cost-centre": "7", names.LABEL_TRAINING: NAME}
    assert found["metadata"]["labels"].items() >= labels.items()
    assert found["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}

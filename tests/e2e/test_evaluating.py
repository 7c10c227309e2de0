"""A model is measured on the cluster before it is published: through a killed pod, a suspension and a gate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.conftest import finished, training
from kinema_api import layout, names
from kinema_api.reports import read_result
from stage import faults, install, kube, runs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
STEPS = 20
LONG = {"clips": 32, "sections": ["captions"]}
"""Takes long enough to be disturbed."""
SHORT = {"clips": 4, "sections": ["captions", "motion"]}


@pytest.fixture(scope="module", autouse=True)
def trainings(namespace: str) -> None:
    """All of them are begun at once: most of a short training is waiting for its pods."""
    evaluations = {
        "disturbed": LONG,
        "measured": {**SHORT, "gate": {"colour": 0}},
        "gated": {**SHORT, "gate": {"everything": 1}},
    }
    begun = [training(name, STEPS, nodes=1, evaluation=each) for name, each in evaluations.items()]
    kube.apply(begun, namespace)


def evaluators(name: str, namespace: str) -> list[dict[str, Any]]:
    """Running pods that measure a training's model."""
    selector = f"{names.LABEL_TRAINING}={name},{names.LABEL_COMPONENT}={names.COMPONENT_EVALUATOR}"
    return [
        pod
        for pod in kube.items("pods", namespace, selector)
        if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    ]


def measuring(name: str, namespace: str, but: str = "") -> str:
    """uid of the pod that measures now; one `but` this one, which may still be listed."""

    def check() -> str | None:
        found = (pod["metadata"]["uid"] for pod in evaluators(name, namespace))
        return next((uid for uid in found if uid != but), None)

    return kube.until(check, f"an evaluator of {name}", 300)


def phase(name: str, namespace: str) -> str:
    """Where a training stands."""
    return str(runs.training_status(name, namespace).get("phase"))


def report_folder(status: dict[str, Any]) -> str:
    """Key prefix of the report that a status names."""
    return str(status["evaluation"]["reportUri"]).partition("://")[2].partition("/")[2].removesuffix(layout.REPORT_PAGE)


def test_a_killed_evaluator_and_a_suspension_cost_time_and_no_attempt(namespace: str) -> None:
    first = measuring("disturbed", namespace)
    assert phase("disturbed", namespace) == "Evaluating"
    assert faults.kill_pod(first) > 0
    measuring("disturbed", namespace, but=first)
    spec = json.dumps({"spec": {"suspend": True}})
    kube.kubectl("patch", "vmt/disturbed", "-n", namespace, "--type=merge", "-p", spec)
    kube.until(lambda: phase("disturbed", namespace) == "Suspended", "Suspended", 60)
    kube.until(lambda: not evaluators("disturbed", namespace), "no evaluator", 60)
    spec = json.dumps({"spec": {"suspend": False}})
    kube.kubectl("patch", "vmt/disturbed", "-n", namespace, "--type=merge", "-p", spec)
    status = finished("disturbed", namespace, seconds=900)
    assert (status["attempt"], status.get("restarts", {})) == (1, {})
    result = read_result(install.store(), report_folder(status))
    assert result is not None
    assert result.model_digest == status["published"]["digest"] == status["evaluation"]["modelDigest"]


def test_the_report_is_one_page_and_its_figures_stand_in_the_status(namespace: str) -> None:
    status = finished("measured", namespace)
    assert status["evaluation"]["passed"] is True
    store, folder = install.store(), report_folder(status)
    document = json.loads(store.get(folder + "report.json"))
    assert document["digest"] == status["published"]["digest"]
    assert status["evaluation"]["accuracy"]["colour"] == pytest.approx(
        document["attributes"]["colour"]["accuracy"], abs=1e-4
    )
    assert store.get(folder + layout.REPORT_PAGE).startswith(b"<!doctype html>")
    kube.kubectl("wait", "--for=condition=Evaluated", "vmt/measured", "-n", namespace, "--timeout=10s")


def test_a_model_below_its_gate_is_not_published(namespace: str) -> None:
    status = finished("gated", namespace, "Failed")
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "GateNotMet"
    assert "everything is" in failed["message"]
    assert "below the gate of 1" in failed["message"]
    assert "published" not in status
    assert kube.get("vmodel", "gated", namespace) is None
    digest = status["evaluation"]["modelDigest"]
    assert install.store().stat(layout.model_prefix(digest) + layout.MANIFEST) is None

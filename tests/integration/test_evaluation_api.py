"""spec.evaluation on a real API server: what is refused and in which words, and what is fixed for a run."""

from __future__ import annotations

from typing import Any

import pytest

from integration.kubectl import Kubectl, changed
from integration.one_training import SPEC
from kinema_api.evaluation import GATE_WITHOUT_CAPTIONS, METRICS, UNKNOWN_METRIC

pytestmark = pytest.mark.apiserver

MEASURED: dict[str, Any] = {
    "apiVersion": "kinema.dev/v1alpha1",
    "kind": "VideoModelTraining",
    "metadata": {"name": "measured"},
    "spec": {**SPEC, "evaluation": {"gate": {"colour": 0.9}}},
}


@pytest.mark.parametrize(
    ("evaluation", "sentence"),
    [
        ({"clips": 1}, "spec.evaluation.clips in body should be greater than or equal to 2"),
        ({"clips": 1025}, "spec.evaluation.clips in body should be less than or equal to 1024"),
        ({"sections": []}, "spec.evaluation.sections in body should have at least 1 items"),
        ({"sections": ["beauty"]}, 'Unsupported value: "beauty"'),
        ({"sections": ["tasks", "tasks"]}, 'Duplicate value: "tasks"'),
        ({"seed": -1}, "spec.evaluation.seed in body should be greater than or equal to 0"),
        ({"gate": {"colour": 1.5}}, "should be less than or equal to 1"),
        ({"gate": {"beauty": 0.5}}, UNKNOWN_METRIC),
        ({"gate": {"colour": 0.5}, "sections": ["tasks"]}, GATE_WITHOUT_CAPTIONS),
        ({"bar": 1}, 'unknown field "spec.evaluation.bar"'),
    ],
)
def test_what_cannot_be_measured_is_refused(evaluation: dict[str, Any], sentence: str, kubectl: Kubectl) -> None:
    answer = kubectl.apply(changed(MEASURED, "spec.evaluation", evaluation))
    assert answer.code != 0
    assert sentence in answer.err


@pytest.mark.parametrize(
    "evaluation",
    [{}, {"gate": {}, "sections": ["tasks"]}, {"gate": dict.fromkeys(METRICS, 1), "sections": ["captions", "drift"]}],
)
def test_what_can_be_measured_is_taken(evaluation: dict[str, Any], kubectl: Kubectl) -> None:
    answer = kubectl.apply(changed(MEASURED, "spec.evaluation", evaluation))
    assert answer.code == 0, answer.err
    assert kubectl.get("vmt", "measured")["spec"]["evaluation"] == {"clips": 32, "seed": 0, **evaluation}


@pytest.mark.parametrize(
    ("path", "value"), [("spec.evaluation", None), ("spec.evaluation.clips", 3), ("spec.evaluation.gate.shape", 0.5)]
)
def test_it_is_fixed_for_a_run(path: str, value: Any, kubectl: Kubectl) -> None:
    assert kubectl.apply(MEASURED).code == 0
    edited = changed(MEASURED, path, value)
    refused = kubectl.apply(edited)
    assert "evaluation is fixed for a run: give spec.runId a new value" in refused.err
    assert kubectl.apply(changed(edited, "spec.runId", "second")).code == 0

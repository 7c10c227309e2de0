"""What pydantic says of pod templates: the same as the API server says in tests/integration/test_pod_template.py."""

from __future__ import annotations

from typing import Any

import pytest

from kinema_api.errors import InvalidManifest
from kinema_api.evaluation import Evaluation
from kinema_api.pod_template import PodTemplate, TrainerPodTemplate
from kinema_api.serving import Serving
from kinema_api.training import VideoModelTrainingSpec, Worker
from pod_templates import REFUSED, TAKEN

SPEC: dict[str, Any] = {"model": {"preset": "tiny"}, "data": {"world": {}}, "optimization": {"steps": 1}}


@pytest.mark.parametrize(("template", "sentence"), REFUSED)
def test_what_no_pod_may_have_is_refused(template: dict[str, Any], sentence: str) -> None:
    if "two volumes" in sentence:
        pytest.skip("the API server alone compares paths")
    with pytest.raises(InvalidManifest) as refused:
        PodTemplate.parse(template)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("template", TAKEN)
def test_what_a_pod_may_have_is_taken_and_comes_back(template: dict[str, Any]) -> None:
    parsed = PodTemplate.parse(template)
    assert PodTemplate.parse(parsed.to_wire()) == parsed


@pytest.mark.parametrize("kind", [Worker, Serving])
def test_the_older_fields_are_used_where_the_template_says_nothing(kind: type[Worker | Serving]) -> None:
    older = {"resources": {"limits": {"cpu": "1"}}, "nodeSelector": {"pool": "a"}}
    alone = kind.parse(older).template
    assert (alone.resources, alone.node_selector) == (kind.parse(older).resources, {"pool": "a"})
    beside = kind.parse({**older, "podTemplate": {"env": [{"name": "A"}]}}).template
    assert (beside.resources, beside.node_selector) == (alone.resources, {"pool": "a"})
    assert [variable.name for variable in beside.env] == ["A"]
    for name, other in (("resources", {"limits": {"cpu": "2"}}), ("nodeSelector", {"pool": "b"})):
        assert kind.parse({**older, "podTemplate": {name: older[name]}})
        with pytest.raises(InvalidManifest, match=f"keep podTemplate.{name}, which wins"):
            kind.parse({**older, "podTemplate": {name: other}})


def test_an_evaluator_has_what_trainers_have_but_their_account() -> None:
    trainers = {
        "serviceAccountName": "trainers",
        "env": [{"name": "A"}],
        "resources": {"limits": {"nvidia.com/gpu": 8}},
    }
    own = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    for evaluation, gpus in ((None, 8), ({}, 8), ({"podTemplate": {}}, 8), ({"podTemplate": own}, 1)):
        spec = VideoModelTrainingSpec.parse(
            {**SPEC, "worker": {"podTemplate": trainers}, **({} if evaluation is None else {"evaluation": evaluation})}
        )
        template = spec.evaluator_template
        assert template.gpus == gpus
        assert [variable.name for variable in template.env] == ["A"]
        assert getattr(template, "service_account_name", None) is None
    assert VideoModelTrainingSpec.parse(SPEC).evaluator_template == TrainerPodTemplate()


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [
        (None, 0),
        ({"limits": {"cpu": 4}}, 0),
        ({"limits": {"nvidia.com/gpu": "8"}}, 8),
        ({"requests": {"amd.com/gpu": 4}}, 4),
        ({"limits": {"example.com/fpga": 2}}, 0),
    ],
)
def test_gpus_are_those_that_torch_computes_on(resources: dict[str, Any] | None, gpus: int) -> None:
    assert PodTemplate.parse({"resources": resources} if resources else {}).gpus == gpus


def test_an_evaluation_of_its_own_has_no_account() -> None:
    parsed = Evaluation.parse({"podTemplate": {"serviceAccountName": "trainers"}})
    assert "serviceAccountName" not in parsed.to_wire()["podTemplate"]

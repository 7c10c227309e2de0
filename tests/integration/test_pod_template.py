"""Pod templates at a real API server: what no pod may have is refused with a sentence, for every kind that has one."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from integration.kinds import MODEL, TRAINING
from integration.kubectl import Kubectl, changed
from kinema_api.serving import VideoModel
from kinema_api.training import VideoModelTraining
from pod_templates import REFUSED, TAKEN

pytestmark = pytest.mark.apiserver

PLACES = {
    "trainers": (TRAINING, "spec.worker"),
    "evaluator": (TRAINING, "spec.evaluation"),
    "servers": (MODEL, "spec.serving"),
}


def placed(place: str, template: dict[str, Any], **beside: Any) -> dict[str, Any]:
    manifest, path = PLACES[place]
    return changed(manifest, path, {"podTemplate": template, **beside})


def named(place: str, templates: list[dict[str, Any]]) -> str:
    """A list of resources `case-N`, for one call: hundreds of calls would take minutes."""
    items = [changed(placed(place, t), "metadata.name", f"case-{number}") for number, t in enumerate(templates)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


@pytest.mark.parametrize("place", PLACES)
def test_what_no_pod_may_have_is_refused(place: str, kubectl: Kubectl) -> None:
    answer = kubectl.ask("create", "--dry-run=server", "-f", "-", stdin=named(place, [t for t, _ in REFUSED]))
    assert answer.out == ""
    _, *parts = re.split(r'"(case-[0-9]+)" is invalid', answer.err)
    said = dict(zip(parts[::2], parts[1::2], strict=True))
    for number, (template, sentence) in enumerate(REFUSED):
        assert sentence in said.get(f"case-{number}", ""), f"{template}: {said.get(f'case-{number}')}"


@pytest.mark.parametrize(
    ("place", "model"),
    list(zip(PLACES, (VideoModelTraining, VideoModelTraining, VideoModel), strict=True)),
)
def test_what_a_pod_may_have_is_taken_and_read_back(
    place: str, model: type[VideoModelTraining | VideoModel], kubectl: Kubectl
) -> None:
    answer = kubectl.ask("create", "-o", "json", "-f", "-", stdin=named(place, TAKEN))
    assert answer.code == 0, answer.err
    made = [json.loads(text) for text in re.findall(r"^\{.*?^\}", answer.out, re.DOTALL | re.MULTILINE)]
    assert len(made) == len(TAKEN)
    for manifest in made:
        assert model.parse(manifest).metadata.name == manifest["metadata"]["name"]


@pytest.mark.parametrize("place", PLACES)
def test_two_of_one_name_are_refused(place: str, kubectl: Kubectl) -> None:
    for field, entry in {
        "env": {"name": "A", "value": "1"},
        "imagePullSecrets": {"name": "a"},
        "volumes": {"name": "a", "mountPath": "/mnt/a", "emptyDir": {}},
    }.items():
        answer = kubectl.apply(placed(place, {field: [entry, copy.deepcopy(entry)]}), "--dry-run=server")
        assert answer.code != 0, field
        assert "Duplicate value" in answer.err


@pytest.mark.parametrize("place", ["trainers", "servers"])
def test_what_is_given_twice_is_the_same_or_refused(place: str, kubectl: Kubectl) -> None:
    for field, one, another in (
        ("resources", {"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}),
        ("nodeSelector", {"pool": "a"}, {"pool": "b"}),
    ):
        same = kubectl.apply(placed(place, {field: one}, **{field: one}), "--dry-run=server")
        assert same.code == 0, same.err
        answer = kubectl.apply(placed(place, {field: one}, **{field: another}), "--dry-run=server")
        assert answer.code != 0
        assert f"keep podTemplate.{field}, which wins" in answer.err


def test_only_trainers_have_a_service_account(kubectl: Kubectl) -> None:
    account = {"serviceAccountName": "trainers"}
    assert kubectl.apply(placed("trainers", account), "--dry-run=server").code == 0
    for place in ("evaluator", "servers"):
        answer = kubectl.apply(placed(place, account), "--dry-run=server")
        assert "unknown field" in answer.err
    answer = kubectl.apply(placed("trainers", {"serviceAccountName": "A"}), "--dry-run=server")
    assert "a service account's name holds only" in answer.err


def test_it_is_fixed_for_a_run_and_free_for_servers(kubectl: Kubectl) -> None:
    for place in ("trainers", "evaluator"):
        assert kubectl.apply(placed(place, {"env": [{"name": "A"}]})).code == 0
        answer = kubectl.apply(placed(place, {"env": [{"name": "B"}]}))
        assert "is fixed for a run: give spec.runId a new value" in answer.err
        kubectl("delete", "vmt", TRAINING["metadata"]["name"])
    assert kubectl.apply(placed("servers", {"env": [{"name": "A"}]})).code == 0
    assert kubectl.apply(placed("servers", {"env": [{"name": "B"}]})).code == 0


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("spec.model.overrides", {"frames": 2000, "size": "2048x2048"}),
        ("spec.data.world", {"shapes": {"frames": [2000], "minSide": 8, "maxSide": 2048}}),
        ("spec.elastic", {"minNodes": 1, "maxNodes": 1024}),
    ],
)
def test_large_trainings_are_taken(path: str, most: dict[str, Any], kubectl: Kubectl) -> None:
    answer = kubectl.apply(changed(TRAINING, path, most), "--dry-run=server")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("spec.model.overrides", {"frames": 2001}),
        ("spec.model.overrides", {"size": "2056x2048"}),
        ("spec.data.world", {"shapes": {"frames": [2001]}}),
        ("spec.data.world", {"shapes": {"minSide": 8, "maxSide": 2049}}),
        ("spec.elastic", {"minNodes": 1, "maxNodes": 1025}),
    ],
)
def test_beyond_their_bounds_they_are_not(path: str, more: dict[str, Any], kubectl: Kubectl) -> None:
    assert kubectl.apply(changed(TRAINING, path, more), "--dry-run=server").code != 0

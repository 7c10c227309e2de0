"""What kubectl makes of the kinds on a real API server: defaults, columns, scale, diff, wait, explain."""

from __future__ import annotations

import json

import pytest

from integration.kinds import GENERATION, MODEL, TRAINING
from integration.kubectl import Kubectl, changed

pytestmark = pytest.mark.apiserver


def test_defaults_show_in_what_kubectl_gets(kubectl: Kubectl) -> None:
    for manifest in (TRAINING, MODEL, GENERATION):
        assert kubectl.apply(manifest).code == 0
    training, model, clip = (
        kubectl.get(*who)["spec"] for who in (("vmt", "training"), ("vmodel", "model"), ("vgen", "clip"))
    )
    assert training["checkpoint"] == {"everySteps": 50, "keep": 3}
    assert training["optimization"] == {
        "steps": 100,
        "batchTokens": 4096,
        "seed": 0,
        "precision": "auto",
        "compile": False,
        "activationCheckpointing": "none",
        "emaDecay": 0.99,
        "gradientClip": 1,
    }
    assert training["suspend"] is False
    assert training["data"]["tasks"]["text"] == 1
    assert {name: weight for name, weight in training["data"]["world"]["scenes"].items() if weight} == {"simple": 1}
    assert (training["data"]["world"]["richCaptions"], training["data"]["world"]["weight"]) == (0, 1)
    assert (training["data"]["videos"], training["data"]["richCaptions"]) == ([], 0.5)
    assert model["serving"] == {"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 300}
    assert clip["cancel"] is False
    assert not {"seed", "steps", "guidanceScale", "seconds"} & clip.keys(), "defaults of the model, which renders it"


def test_kubectl_scale_moves_the_nodes_within_their_bounds(kubectl: Kubectl) -> None:
    assert kubectl.apply(TRAINING).code == 0
    kubectl("scale", "vmt/training", "--replicas=3")
    assert kubectl.get("vmt", "training")["spec"]["nodes"] == 3
    refused = kubectl.ask("scale", "vmt/training", "--replicas=4")
    assert "change nodes or the bounds" in refused.err
    kubectl.set_status("vmt", "training", {"nodes": {"desired": 3, "ready": 2}, "selector": "a=b"})
    scale = json.loads(kubectl("get", "vmt", "training", "--subresource=scale", "-o", "json"))
    assert scale["spec"]["replicas"] == 3
    assert scale["status"] == {"replicas": 2, "selector": "a=b"}


def test_server_side_apply_leaves_the_nodes_to_whoever_scales(kubectl: Kubectl) -> None:
    without_nodes = changed(TRAINING, "spec.nodes", None)
    assert kubectl.apply(without_nodes, "--server-side").code == 0
    kubectl("scale", "vmt/training", "--replicas=3")
    assert kubectl.apply(without_nodes, "--server-side").code == 0
    assert kubectl.get("vmt", "training")["spec"]["nodes"] == 3


def test_server_side_apply_tells_who_scaled(kubectl: Kubectl) -> None:
    assert kubectl.apply(TRAINING, "--server-side").code == 0
    kubectl("scale", "vmt/training", "--replicas=3")
    conflict = kubectl.apply(TRAINING, "--server-side")
    assert conflict.code != 0
    assert ".spec.nodes" in conflict.err
    assert kubectl.apply(TRAINING, "--server-side", "--force-conflicts").code == 0


def test_diff_shows_an_edit_and_nothing_else(kubectl: Kubectl) -> None:
    assert kubectl.apply(TRAINING).code == 0
    edited = json.dumps(changed(TRAINING, "spec.nodes", 3))
    answer = kubectl.ask("diff", "-f", "-", stdin=edited)
    assert answer.code == 1
    edits = [line for line in answer.out.splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    assert [line.split() for line in edits if "generation" not in line] == [["-", "nodes:", "2"], ["+", "nodes:", "3"]]


def test_columns_say_where_a_training_stands(kubectl: Kubectl) -> None:
    assert kubectl.apply(TRAINING).code == 0
    progress = {"step": 40, "totalSteps": 100, "loss": 0.25, "etaSeconds": 9}
    status = {"phase": "Training", "attempt": 2, "run": 1, "nodes": {"desired": 2, "ready": 1}, "progress": progress}
    kubectl.set_status("vmt", "training", status)
    header, row = (line.split() for line in kubectl("get", "vmt").splitlines())
    assert header == ["NAME", "PHASE", "STEP", "STEPS", "NODES", "READY", "ATTEMPT", "AGE"]
    assert row[:7] == ["training", "Training", "40", "100", "2", "1", "2"]
    wide = kubectl("get", "vmt", "-o", "wide")
    assert "LOSS" in wide
    assert "published" in wide


def test_columns_of_models_and_generations(kubectl: Kubectl) -> None:
    assert kubectl.apply(MODEL).code == 0
    assert kubectl.apply(GENERATION).code == 0
    kubectl.set_status("vmodel", "model", {"phase": "Serving", "replicas": 2, "readyReplicas": 1, "waiting": 3})
    kubectl.set_status("vgen", "clip", {"phase": "Running", "progress": {"step": 6, "totalSteps": 24, "percent": 25}})
    assert kubectl("get", "vmodel").splitlines()[1].split()[:5] == ["model", "Serving", "2", "1", "3"]
    assert kubectl("get", "vgen").splitlines()[1].split()[:4] == ["clip", "Running", "model", "25"]
    assert "a red square moves right" in kubectl("get", "vgen", "-o", "wide")


def test_generations_are_selected_by_phase_and_model(kubectl: Kubectl) -> None:
    for name, model in (("one", "a"), ("two", "b")):
        manifest = changed(changed(GENERATION, "metadata.name", name), "spec.modelRef.name", model)
        assert kubectl.apply(manifest).code == 0
    kubectl.set_status("vgen", "two", {"phase": "Succeeded"})
    for selector, name in (("status.phase=Succeeded", "two"), ("spec.modelRef.name=a", "one")):
        assert kubectl("get", "vgen", "-o", "name", "--field-selector", selector).split("/")[-1].strip() == name


def test_kubectl_waits_for_a_condition(kubectl: Kubectl) -> None:
    assert kubectl.apply(TRAINING).code == 0
    now = "2026-01-01T00:00:00Z"
    condition = {"type": "Succeeded", "status": "True", "reason": "Published", "lastTransitionTime": now}
    pending = kubectl.ask("wait", "--for=condition=Succeeded", "vmt/training", "--timeout=0s")
    assert pending.code != 0
    kubectl.set_status("vmt", "training", {"phase": "Succeeded", "conditions": [condition]})
    assert "condition met" in kubectl("wait", "--for=condition=Succeeded", "vmt/training", "--timeout=20s")


def test_status_and_spec_are_written_apart(kubectl: Kubectl) -> None:
    assert kubectl.apply({**TRAINING, "status": {"phase": "Succeeded"}}).code == 0
    made = kubectl.get("vmt", "training")
    assert "status" not in made
    kubectl.set_status("vmt", "training", {"phase": "Training", "nodes": {"ready": 1}})
    after = kubectl.get("vmt", "training")
    assert after["metadata"]["generation"] == made["metadata"]["generation"]
    assert after["status"] == {"phase": "Training", "nodes": {"ready": 1}}, "the API server makes up no status"


def test_explain_tells_what_a_field_means(kubectl: Kubectl) -> None:
    assert "kubectl scale changes it" in kubectl("explain", "vmt.spec.nodes")
    assert "WIDTHxHEIGHT in pixels" in kubectl("explain", "vgen.spec.size")

"""The kinds on a real API server: what is accepted, what is refused and in which words, what kubectl makes of them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.kubectl import Kubectl, changed
from integration.server import REPOSITORY, Server

pytestmark = pytest.mark.apiserver

SAMPLES = REPOSITORY / "manifests" / "samples"
DIGEST = "sha256:" + "a" * 64
STORE = {"endpoint": "http://minio:9000", "bucket": "kinema", "secretRef": {"name": "keys"}}

TRAINING: dict[str, Any] = {
    "apiVersion": "kinema.dev/v1alpha1",
    "kind": "VideoModelTraining",
    "metadata": {"name": "training"},
    "spec": {
        "model": {"preset": "tiny"},
        "data": {"world": {"seed": 7}},
        "optimization": {"steps": 100},
        "nodes": 2,
        "elastic": {"minNodes": 1, "maxNodes": 3},
        "publish": {"model": "published"},
    },
}
MODEL: dict[str, Any] = {
    "apiVersion": "kinema.dev/v1alpha1",
    "kind": "VideoModel",
    "metadata": {"name": "model"},
    "spec": {"source": {"training": "training"}},
}
GENERATION: dict[str, Any] = {
    "apiVersion": "kinema.dev/v1alpha1",
    "kind": "VideoGeneration",
    "metadata": {"name": "clip"},
    "spec": {"modelRef": {"name": "model"}, "prompt": "a red square moves right", "size": "24x24"},
}

EXTEND: dict[str, Any] = {
    **GENERATION,
    "spec": {**GENERATION["spec"], "task": "extend", "input": {"generation": "a"}},
}
LONG: dict[str, Any] = {
    **GENERATION,
    "spec": {**GENERATION["spec"], "shots": [{"prompt": "a blue circle moves left", "seconds": 2}]},
}
INPAINT: dict[str, Any] = {
    **GENERATION,
    "spec": {
        **EXTEND["spec"],
        "task": "inpaint",
        "mask": {"region": {"left": 0, "top": 0, "width": 8, "height": 8}},
    },
}

NAME_TOO_LONG = "at most 40 characters, since names of pods and services are made from it: choose a shorter name"
NAME_MALFORMED = "metadata.name must start with a letter"
BLANK = "the prompt is blank: say what the clip shows"
SIZE = "size is WIDTHxHEIGHT in pixels, each from 1 to 9999: write it like 24x24"
ENDPOINT = "an endpoint is http://HOST:PORT or https://HOST:PORT, with no path: correct it"

REFUSED = [
    (TRAINING, "spec.model.preset", "huge", 'Unsupported value: "huge": supported values: "tiny", "small"'),
    (TRAINING, "spec.model", None, "spec.model: Required value"),
    (TRAINING, "spec.nodes", 4, "nodes must lie between elastic.minNodes and elastic.maxNodes"),
    (TRAINING, "spec.nodes", 0, "spec.nodes in body should be greater than or equal to 1"),
    (TRAINING, "spec.nodes", 65, "spec.nodes in body should be less than or equal to 64"),
    (TRAINING, "spec.elastic", {"minNodes": 3, "maxNodes": 2}, "lower minNodes or raise maxNodes"),
    (TRAINING, "spec.elastic", {"minNodes": 1}, "spec.elastic.maxNodes: Required value"),
    (TRAINING, "spec.optimization.steps", 0, "spec.optimization.steps in body should be greater than or equal to 1"),
    (TRAINING, "spec.optimization.steps", "many", 'spec.optimization.steps: Invalid value: "string"'),
    (TRAINING, "spec.optimization.learningRate", 0, "should be greater than 0"),
    (TRAINING, "spec.data.world.scenes", {"simple": 0}, "no kind of scene has a weight above 0: give at least one"),
    (TRAINING, "spec.data.world.scenes", {"twoShot": 1001}, "should be less than or equal to 1000"),
    (TRAINING, "spec.data.world.scenes", {"noise": 1}, 'unknown field "spec.data.world.scenes.noise"'),
    (TRAINING, "spec.data.world.shapes", {"minSide": 32}, "minSide and maxSide go together: give both or none"),
    (TRAINING, "spec.data.world.shapes", {"minSide": 64, "maxSide": 32}, "minSide must not exceed maxSide"),
    (TRAINING, "spec.data.world.shapes", {"frames": [65]}, "should be less than or equal to 64"),
    (TRAINING, "spec.data.world.shapes", {"fps": [0]}, "should be greater than or equal to 1"),
    (TRAINING, "spec.data.world.richCaptions", 1.5, "should be less than or equal to 1"),
    (TRAINING, "spec.data.tasks", {"text": 0}, "no task has a weight above 0: give at least one, such as text: 1"),
    (TRAINING, "spec.data.tasks", {"image": -1}, "should be greater than or equal to 0"),
    (TRAINING, "spec.data.tasks", {"edit": 1}, 'unknown field "spec.data.tasks.edit"'),
    (TRAINING, "spec.checkpoint.everySteps", 0, "should be greater than or equal to 1"),
    (TRAINING, "spec.publish.model", "Tiny_World", "a model's name starts with a letter"),
    (TRAINING, "spec.runId", "a b", "runId starts with a letter or digit"),
    (TRAINING, "spec.artifactStore", {**STORE, "endpoint": "minio:9000"}, ENDPOINT),
    (TRAINING, "spec.artifactStore", {**STORE, "endpoint": "http://minio:9000/path"}, ENDPOINT),
    (TRAINING, "spec.artifactStore", {**STORE, "bucket": "My_Bucket"}, "a bucket's name holds only"),
    (TRAINING, "spec.artifactStore", {**STORE, "secretRef": {"name": ""}}, "at least 1 chars long"),
    (TRAINING, "spec.optimisation", {"steps": 1}, 'unknown field "spec.optimisation"'),
    (TRAINING, "metadata.name", "x" * 41, NAME_TOO_LONG),
    (TRAINING, "metadata.name", "7b", NAME_MALFORMED),
    (TRAINING, "metadata.name", "v1.2", NAME_MALFORMED),
    (MODEL, "spec.source", {}, "give exactly one of source.training and source.digest"),
    (MODEL, "spec.source", {"training": "a", "digest": DIGEST}, "give exactly one of source.training"),
    (MODEL, "spec.source", {"digest": "sha256:abc"}, "a digest is sha256: and 64 hexadecimal digits"),
    (MODEL, "spec.serving", {"minReplicas": 2}, "lower minReplicas or raise maxReplicas"),
    (MODEL, "metadata.name", "x" * 41, NAME_TOO_LONG),
    (GENERATION, "spec.prompt", "", "spec.prompt in body should be at least 1 chars long"),
    (GENERATION, "spec.prompt", " \t\n", BLANK),
    (GENERATION, "spec.prompt", "\u00a0\u3000\u200b", BLANK),
    (GENERATION, "spec.prompt", "x" * 4097, "spec.prompt: Too long: may not be more than 4096"),
    (GENERATION, "spec.prompt", None, "spec.prompt: Required value"),
    (GENERATION, "spec.size", "24", SIZE),
    (GENERATION, "spec.size", "24X24", SIZE),
    (GENERATION, "spec.size", "0x24", SIZE),
    (GENERATION, "spec.seconds", 0, "spec.seconds in body should be greater than 0"),
    (GENERATION, "spec.seconds", 61, "spec.seconds in body should be less than or equal to 60"),
    (GENERATION, "spec.task", "paint", 'Unsupported value: "paint"'),
    (GENERATION, "spec.task", "extend", "every task but text and picture works on something: give input"),
    (GENERATION, "spec.input", {"generation": "a"}, "text and picture take no input: remove it, or name a task"),
    (GENERATION, "spec.fps", 61, "should be less than or equal to 60"),
    (EXTEND, "spec.task", "picture", "text and picture take no input"),
    (EXTEND, "spec.end", {"generation": "a"}, "fill and blend lead from input to end, others take no end"),
    (EXTEND, "spec.task", "fill", "fill and blend lead from input to end"),
    (EXTEND, "spec.task", "inpaint", "inpaint takes a mask of what to make anew"),
    (EXTEND, "spec.mask", {"region": {"left": 0, "top": 0, "width": 8, "height": 8}}, "others take none"),
    (EXTEND, "spec.input", {}, "give exactly one of generation and uri for an input"),
    (EXTEND, "spec.input", {"generation": "a", "uri": "s3://kinema/inputs/a.mp4"}, "give exactly one of generation"),
    (EXTEND, "spec.input", {"uri": "http://example/a.mp4"}, "an input's uri is s3://BUCKET/KEY: correct it"),
    (EXTEND, "spec.strength", 0.5, "strength is for edit and blend: remove it"),
    (GENERATION, "spec.inputSeconds", 1, "inputSeconds is for extend and extend-back: remove it"),
    (INPAINT, "spec.mask", {}, "give exactly one of region and uri for a mask"),
    (INPAINT, "spec.mask.region.width", 0, "should be greater than or equal to 1"),
    (GENERATION, "spec.shots", [{"prompt": " ", "seconds": 1}], BLANK),
    (GENERATION, "spec.shots", [{"prompt": "a red square", "seconds": 0}], "should be greater than 0"),
    (GENERATION, "spec.shots", [{"prompt": "a red square", "seconds": 60}], "all shots together may last 60 seconds"),
    (EXTEND, "spec.shots", [{"prompt": "a red square", "seconds": 1}], "shots are made from words alone"),
    (LONG, "spec.expandPrompt", True, "expandPrompt is for a clip of one shot"),
    (TRAINING, "spec.model.overrides", {"size": "24"}, SIZE),
    (TRAINING, "spec.model.streaming", {"chunkFrames": 0}, "should be greater than or equal to 1"),
    (GENERATION, "spec.guidanceScale", 0.5, "should be greater than or equal to 1"),
    (GENERATION, "metadata.name", "x" * 41, NAME_TOO_LONG),
]

NEW_RUN = "is fixed for a run: give spec.runId a new value to start another run with it"
TRAINING_EDITS = [
    ("spec.model.preset", "small", "model " + NEW_RUN),
    ("spec.model.overrides", {"depth": 2}, "model " + NEW_RUN),
    ("spec.data.world.seed", 8, "data " + NEW_RUN),
    ("spec.data.world.scenes", {"bounce": 1}, "data " + NEW_RUN),
    ("spec.data.world.richCaptions", 0.5, "data " + NEW_RUN),
    ("spec.data.tasks", {"image": 1}, "data " + NEW_RUN),
    ("spec.data.world.shapes", {"fps": [8, 12]}, "data " + NEW_RUN),
    ("spec.optimization.steps", 101, "optimization " + NEW_RUN),
    ("spec.optimization.learningRate", 0.01, "optimization " + NEW_RUN),
    ("spec.publish", None, "publish " + NEW_RUN),
    ("spec.publish.model", "other", "publish " + NEW_RUN),
    ("spec.worker", {"resources": {"limits": {"nvidia.com/gpu": 1}}}, "worker " + NEW_RUN),
    ("spec.artifactStore", STORE, "artifactStore " + NEW_RUN),
    ("spec.checkpoint", {"everySteps": 10}, "checkpoint.everySteps is fixed for a run (keep is not)"),
]
ANOTHER_CLIP = "cannot change once asked for: create another VideoGeneration"
GENERATION_EDITS = [
    ("spec.modelRef.name", "other", "modelRef " + ANOTHER_CLIP),
    ("spec.strength", 0.5, "strength " + ANOTHER_CLIP),
    ("spec.inputSeconds", 1, "inputSeconds " + ANOTHER_CLIP),
    ("spec.prompt", "a blue disc", "prompt " + ANOTHER_CLIP),
    ("spec.negativePrompt", "a blue disc", "negativePrompt " + ANOTHER_CLIP),
    ("spec.seed", 3, "seed " + ANOTHER_CLIP),
    ("spec.seconds", 2, "seconds " + ANOTHER_CLIP),
    ("spec.size", "32x32", "size " + ANOTHER_CLIP),
    ("spec.size", None, "size " + ANOTHER_CLIP),
    ("spec.fps", 12, "fps " + ANOTHER_CLIP),
    ("spec.task", "picture", "task " + ANOTHER_CLIP),
    ("spec.steps", 3, "steps " + ANOTHER_CLIP),
    ("spec.guidanceScale", 4, "guidanceScale " + ANOTHER_CLIP),
    ("spec.deadlineSeconds", 4, "deadlineSeconds " + ANOTHER_CLIP),
    ("spec.artifactStore", STORE, "artifactStore " + ANOTHER_CLIP),
]
FREE_EDITS = [
    ("spec.nodes", 3),
    ("spec.elastic", {"minNodes": 2, "maxNodes": 8}),
    ("spec.elastic", None),
    ("spec.suspend", True),
    ("spec.checkpoint", {"keep": 9}),
    ("spec.runId", "second"),
]


def case_id(value: Any) -> str | None:
    """Names a case by the field; long values would fill the screen."""
    return value if isinstance(value, str) and value.startswith(("spec.", "metadata.")) else ""


@pytest.fixture
def kubectl(server: Server) -> Kubectl:
    """kubectl in a namespace of the test's own."""
    name = f"api-{uuid.uuid4().hex[:8]}"
    Kubectl(server.kubeconfig, "default")("create", "namespace", name)
    return Kubectl(server.kubeconfig, name)


def set_status(kubectl: Kubectl, kind: str, name: str, status: dict[str, Any]) -> None:
    """Write status as the operator does."""
    body = json.dumps({"status": status})
    kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", body)


@pytest.mark.parametrize("file", sorted(SAMPLES.rglob("*.yaml")), ids=lambda f: f.name)
def test_every_sample_is_accepted(file: Path, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", str(file))
    assert kubectl.ask("diff", "-f", str(file)).code == 0


@pytest.mark.parametrize("order", [1, -1], ids=["as listed", "reversed"])
def test_samples_apply_in_any_order(order: int, kubectl: Kubectl) -> None:
    for file in sorted(SAMPLES.glob("*.yaml"))[::order]:
        kubectl("apply", "-f", str(file))
    assert set(kubectl("get", "kinema", "-o", "name").split()) == {
        "videomodeltraining.kinema.dev/tiny-world",
        "videogeneration.kinema.dev/red-square",
    }


def test_samples_of_a_folder_never_name_an_object_twice() -> None:
    names = []
    for file in SAMPLES.rglob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            names.append((document["kind"], document["metadata"]["name"]))
            published = document["spec"].get("publish", {}).get("model")
            names += [("VideoModel", published)] if published else []
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("manifest", "path", "value", "sentence"), REFUSED, ids=case_id)
def test_what_is_wrong_is_refused_with_a_sentence(
    manifest: dict[str, Any], path: str, value: Any, sentence: str, kubectl: Kubectl
) -> None:
    answer = kubectl.apply(changed(manifest, path, value))
    assert answer.code != 0
    assert sentence in answer.err


def test_a_prompt_of_a_megabyte_is_refused_without_being_echoed(kubectl: Kubectl) -> None:
    answer = kubectl.ask("create", "-f", "-", stdin=json.dumps(changed(GENERATION, "spec.prompt", "x" * 2**20)))
    assert "spec.prompt: Too long: may not be more than 4096" in answer.err
    assert len(answer.err) < 1000


@pytest.mark.parametrize(("path", "value", "sentence"), TRAINING_EDITS, ids=case_id)
def test_what_a_run_is_made_of_changes_only_with_a_new_run(
    path: str, value: Any, sentence: str, kubectl: Kubectl
) -> None:
    assert kubectl.apply(TRAINING).code == 0
    edited = changed(TRAINING, path, value)
    answer = kubectl.apply(edited)
    assert answer.code != 0
    assert sentence in answer.err
    assert kubectl.apply(changed(edited, "spec.runId", "second")).code == 0


@pytest.mark.parametrize("run_id", [None, "first"], ids=["removed", "unchanged"])
def test_a_run_id_that_is_not_new_starts_nothing(run_id: str | None, kubectl: Kubectl) -> None:
    assert kubectl.apply(changed(TRAINING, "spec.runId", "first")).code == 0
    edited = changed(changed(TRAINING, "spec.runId", run_id), "spec.optimization.steps", 101)
    assert "optimization " + NEW_RUN in kubectl.apply(edited).err


@pytest.mark.parametrize(("path", "value"), FREE_EDITS, ids=case_id)
def test_what_may_change_during_a_run(path: str, value: Any, kubectl: Kubectl) -> None:
    assert kubectl.apply(TRAINING).code == 0
    assert kubectl.apply(changed(TRAINING, path, value)).code == 0


@pytest.mark.parametrize(("path", "value", "sentence"), GENERATION_EDITS, ids=case_id)
def test_a_generation_is_what_was_asked_for(path: str, value: Any, sentence: str, kubectl: Kubectl) -> None:
    assert kubectl.apply(GENERATION).code == 0
    answer = kubectl.apply(changed(GENERATION, path, value))
    assert answer.code != 0
    assert sentence in answer.err


def test_a_cancelled_generation_stays_cancelled(kubectl: Kubectl) -> None:
    assert kubectl.apply(GENERATION).code == 0
    assert kubectl.apply(changed(GENERATION, "spec.cancel", True)).code == 0
    for value in (False, None):
        answer = kubectl.apply(changed(GENERATION, "spec.cancel", value))
        assert "a cancelled generation stays cancelled: create another VideoGeneration" in answer.err


def test_defaults_show_in_what_kubectl_gets(kubectl: Kubectl) -> None:
    for manifest in (TRAINING, MODEL, GENERATION):
        assert kubectl.apply(manifest).code == 0
    training, model, clip = (
        kubectl.get(*who)["spec"] for who in (("vmt", "training"), ("vmodel", "model"), ("vgen", "clip"))
    )
    assert training["checkpoint"] == {"everySteps": 50, "keep": 3}
    assert training["optimization"] == {"steps": 100, "batchTokens": 4096, "learningRate": 0.003, "seed": 0}
    assert training["suspend"] is False
    assert training["data"]["tasks"]["text"] == 1
    assert {name: weight for name, weight in training["data"]["world"]["scenes"].items() if weight} == {"simple": 1}
    assert training["data"]["world"]["richCaptions"] == 0
    assert model["serving"] == {"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 300}
    assert (clip["steps"], clip["guidanceScale"], clip["cancel"]) == (24, 3, False)
    assert "seed" not in clip


def test_kubectl_scale_moves_the_nodes_within_their_bounds(kubectl: Kubectl) -> None:
    assert kubectl.apply(TRAINING).code == 0
    kubectl("scale", "vmt/training", "--replicas=3")
    assert kubectl.get("vmt", "training")["spec"]["nodes"] == 3
    refused = kubectl.ask("scale", "vmt/training", "--replicas=4")
    assert "change nodes or the bounds" in refused.err
    set_status(kubectl, "vmt", "training", {"nodes": {"desired": 3, "ready": 2}, "selector": "a=b"})
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
    set_status(kubectl, "vmt", "training", status)
    header, row = (line.split() for line in kubectl("get", "vmt").splitlines())
    assert header == ["NAME", "PHASE", "STEP", "STEPS", "NODES", "READY", "ATTEMPT", "AGE"]
    assert row[:7] == ["training", "Training", "40", "100", "2", "1", "2"]
    wide = kubectl("get", "vmt", "-o", "wide")
    assert "LOSS" in wide
    assert "published" in wide


def test_columns_of_models_and_generations(kubectl: Kubectl) -> None:
    assert kubectl.apply(MODEL).code == 0
    assert kubectl.apply(GENERATION).code == 0
    set_status(kubectl, "vmodel", "model", {"phase": "Serving", "replicas": 2, "readyReplicas": 1, "waiting": 3})
    set_status(kubectl, "vgen", "clip", {"phase": "Running", "progress": {"step": 6, "totalSteps": 24, "percent": 25}})
    assert kubectl("get", "vmodel").splitlines()[1].split()[:5] == ["model", "Serving", "2", "1", "3"]
    assert kubectl("get", "vgen").splitlines()[1].split()[:4] == ["clip", "Running", "model", "25"]
    assert "a red square moves right" in kubectl("get", "vgen", "-o", "wide")


def test_generations_are_selected_by_phase_and_model(kubectl: Kubectl) -> None:
    for name, model in (("one", "a"), ("two", "b")):
        manifest = changed(changed(GENERATION, "metadata.name", name), "spec.modelRef.name", model)
        assert kubectl.apply(manifest).code == 0
    set_status(kubectl, "vgen", "two", {"phase": "Succeeded"})
    for selector, name in (("status.phase=Succeeded", "two"), ("spec.modelRef.name=a", "one")):
        assert kubectl("get", "vgen", "-o", "name", "--field-selector", selector).split("/")[-1].strip() == name


def test_kubectl_waits_for_a_condition(kubectl: Kubectl) -> None:
    assert kubectl.apply(TRAINING).code == 0
    now = "2026-01-01T00:00:00Z"
    condition = {"type": "Succeeded", "status": "True", "reason": "Published", "lastTransitionTime": now}
    pending = kubectl.ask("wait", "--for=condition=Succeeded", "vmt/training", "--timeout=0s")
    assert pending.code != 0
    set_status(kubectl, "vmt", "training", {"phase": "Succeeded", "conditions": [condition]})
    assert "condition met" in kubectl("wait", "--for=condition=Succeeded", "vmt/training", "--timeout=20s")


def test_status_and_spec_are_written_apart(kubectl: Kubectl) -> None:
    assert kubectl.apply({**TRAINING, "status": {"phase": "Succeeded"}}).code == 0
    made = kubectl.get("vmt", "training")
    assert "status" not in made
    set_status(kubectl, "vmt", "training", {"phase": "Training", "nodes": {"ready": 1}})
    after = kubectl.get("vmt", "training")
    assert after["metadata"]["generation"] == made["metadata"]["generation"]
    assert after["status"] == {"phase": "Training", "nodes": {"ready": 1}}, "the API server makes up no status"


def test_explain_tells_what_a_field_means(kubectl: Kubectl) -> None:
    assert "kubectl scale changes it" in kubectl("explain", "vmt.spec.nodes")
    assert "WIDTHxHEIGHT in pixels" in kubectl("explain", "vgen.spec.size")

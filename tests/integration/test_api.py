"""The kinds on a real API server: what is accepted, what is refused and in which words, and what may be changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.kinds import GENERATION, MODEL, TRAINING
from integration.kubectl import Kubectl, changed
from integration.server import REPOSITORY

pytestmark = pytest.mark.apiserver

SAMPLES = REPOSITORY / "manifests" / "samples"
DIGEST = "sha256:" + "a" * 64
STORE = {"endpoint": "http://minio:9000", "bucket": "kinema", "secretRef": {"name": "keys"}}

CLIPS = "s3://kinema/inputs/team/clips/"

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
BLANK = "the prompt is blank: describe the clip"
SIZE = "size is WIDTHxHEIGHT in pixels, each from 1 to 9999: write it like 24x24"
NO_ENDPOINTS = (
    "http://h:99999",
    "http://h:0",
    "http://h:",
    "http://[::1",
    "http://u:p@h",
    "http://h?a=b",
    "http://h#a",
    "http://2852039166",
    "http://0x7f.1",
    "http://1.2.3.400",
    "http://169.254.169.254",
    "http://[fe80::1]:9000",
    "http:// h",
)
NO_BUCKETS = ("a..b", "192.168.1.1", "x-s3alias", "xn--abc", "a.-b", "a-.b", "abc--ol-s3")
ENDPOINT = "an endpoint is http://HOST:PORT or https://HOST:PORT, with no path: correct it"

REFUSED = [
    (TRAINING, "spec.model.preset", "huge", 'Unsupported value: "huge": supported values: "tiny", "small"'),
    (TRAINING, "spec.model", None, "spec.model: Required value"),
    (TRAINING, "spec.nodes", 4, "nodes must lie between elastic.minNodes and elastic.maxNodes"),
    (TRAINING, "spec.nodes", 0, "spec.nodes in body should be greater than or equal to 1"),
    (TRAINING, "spec.nodes", 1025, "spec.nodes in body should be less than or equal to 1024"),
    (TRAINING, "spec.elastic", {"minNodes": 3, "maxNodes": 2}, "lower minNodes or raise maxNodes"),
    (TRAINING, "spec.elastic", {"minNodes": 1}, "spec.elastic.maxNodes: Required value"),
    (TRAINING, "spec.optimization.steps", 0, "spec.optimization.steps in body should be greater than or equal to 1"),
    (TRAINING, "spec.optimization.steps", "many", 'spec.optimization.steps: Invalid value: "string"'),
    (TRAINING, "spec.optimization.learningRate", 0, "should be greater than 0"),
    (TRAINING, "spec.model", {}, "a model has exactly one of preset and initFrom: keep one"),
    (TRAINING, "spec.model.initFrom", {"digest": DIGEST}, "a model has exactly one of preset and initFrom: keep one"),
    (TRAINING, "spec.model", {"initFrom": {}}, "initFrom has exactly one of digest, model and folder: keep one"),
    (
        TRAINING,
        "spec.model",
        {"initFrom": {"digest": DIGEST, "model": "m"}},
        "initFrom has exactly one of digest, model and folder",
    ),
    (TRAINING, "spec.model", {"initFrom": {"folder": "s3://kinema/p"}}, "ends in a slash"),
    (
        TRAINING,
        "spec.model",
        {"initFrom": {"digest": DIGEST}, "overrides": {"width": 64}},
        "width, depth, heads and codec are those of the base: remove them from overrides",
    ),
    (TRAINING, "spec.optimization.lora", {"rank": 4}, "optimization.lora trains adapters of a model that exists"),
    (TRAINING, "spec.data.world.scenes", {"simple": 0}, "no kind of scene has a weight above 0: give at least one"),
    (TRAINING, "spec.data.world.scenes", {"twoShot": 1001}, "should be less than or equal to 1000"),
    (TRAINING, "spec.data.world.scenes", {"noise": 1}, 'unknown field "spec.data.world.scenes.noise"'),
    (TRAINING, "spec.data.world.shapes", {"minSide": 32}, "minSide and maxSide need each other: set both or neither"),
    (TRAINING, "spec.data.world.shapes", {"minSide": 64, "maxSide": 32}, "minSide must not exceed maxSide"),
    (TRAINING, "spec.data.world.shapes", {"frames": [2001]}, "should be less than or equal to 2000"),
    (TRAINING, "spec.data.world.shapes", {"fps": [0]}, "should be greater than or equal to 1"),
    (TRAINING, "spec.data.world.richCaptions", 1.5, "should be less than or equal to 1"),
    (TRAINING, "spec.data", {}, "there is nothing to train on: give world, videos, or both"),
    (TRAINING, "spec.data.world.weight", 0, "has a weight above 0: give one of them a weight"),
    (TRAINING, "spec.data.richCaptions", -1, "should be greater than or equal to 0"),
    (TRAINING, "spec.data.ownSize", 2, "should be less than or equal to 1"),
    (TRAINING, "spec.data.videos", [{"uri": "s3://kinema/clips"}], "a folder's uri is s3://BUCKET/PREFIX/"),
    (TRAINING, "spec.data.videos", [{"uri": "s3://kinema/a/../b/"}], "a folder's uri is s3://BUCKET/PREFIX/"),
    (TRAINING, "spec.data.videos", [{"uri": CLIPS}, {"uri": CLIPS}], "have the same uri: give each folder once"),
    (TRAINING, "spec.data.videos", [{"uri": f"s3://kinema/{n}/"} for n in range(9)], "must have at most 8 items"),
    (TRAINING, "spec.data.videos", [{"uri": f"s3://kinema/{n}{'x' * 300}/"} for n in "ab"], "more than 512 bytes"),
    (TRAINING, "spec.data.videos", [{"uri": CLIPS, "filters": {"minMotion": 0.3}}], "lower minMotion"),
    (TRAINING, "spec.data.videos", [{"uri": CLIPS, "filters": {"minBrightness": 1}}], "lower minBrightness"),
    (
        TRAINING,
        "spec.data.videos",
        [{"uri": CLIPS, "captions": {"endpoint": {"url": "http://u:p@h/v1", "model": "m"}}}],
        "an endpoint's url is http(s)://HOST",
    ),
    (TRAINING, "spec.data.videos", [{"uri": CLIPS, "weight": -1}], "should be greater than or equal to 0"),
    (
        {**TRAINING, "spec": {**TRAINING["spec"], "artifactStore": {**STORE, "bucket": "team"}}},
        "spec.data.videos",
        [{"uri": CLIPS}],
        "data.videos lie in the bucket of spec.artifactStore",
    ),
    (TRAINING, "spec.data.tasks", {"text": 0}, "no task has a weight above 0: give at least one, such as text: 1"),
    (TRAINING, "spec.data.tasks", {"image": -1}, "should be greater than or equal to 0"),
    (TRAINING, "spec.data.tasks", {"edit": 1}, 'unknown field "spec.data.tasks.edit"'),
    (TRAINING, "spec.checkpoint.everySteps", 0, "should be greater than or equal to 1"),
    (TRAINING, "spec.publish.model", "Tiny_World", "a name starts with a letter"),
    (TRAINING, "spec.runId", "a b", "runId starts with a letter or digit"),
    (TRAINING, "spec.artifactStore", {**STORE, "endpoint": "minio:9000"}, ENDPOINT),
    (TRAINING, "spec.artifactStore", {**STORE, "endpoint": "http://minio:9000/path"}, ENDPOINT),
    (TRAINING, "spec.artifactStore", {**STORE, "bucket": "My_Bucket"}, "a bucket's name holds only"),
    *((TRAINING, "spec.artifactStore", {**STORE, "endpoint": endpoint}, "an endpoint ") for endpoint in NO_ENDPOINTS),
    *((TRAINING, "spec.artifactStore", {**STORE, "bucket": bucket}, "a bucket's name ") for bucket in NO_BUCKETS),
    (TRAINING, "spec.artifactStore", {**STORE, "secretRef": {"name": ""}}, "at least 1 chars long"),
    (TRAINING, "spec.optimisation", {"steps": 1}, 'unknown field "spec.optimisation"'),
    (TRAINING, "metadata.name", "x" * 41, NAME_TOO_LONG),
    (TRAINING, "metadata.name", "7b", NAME_MALFORMED),
    (TRAINING, "metadata.name", "v1.2", NAME_MALFORMED),
    (MODEL, "spec.source", {}, "source has exactly one of training, digest and folder: keep one"),
    (MODEL, "spec.source", {"training": "a", "digest": DIGEST}, "source has exactly one of training"),
    (MODEL, "spec.source", {"folder": "s3://kinema/inputs/films/wan/", "digest": DIGEST}, "source has exactly one of"),
    (MODEL, "spec.source", {"folder": "s3://kinema/inputs/films/wan"}, "a folder's uri is s3://BUCKET/PREFIX/"),
    (MODEL, "spec.source", {"folder": "s3://kinema/inputs/../"}, "a folder's uri is s3://BUCKET/PREFIX/"),
    (GENERATION, "spec.guidanceScale2", 31, "should be less than or equal to 30"),
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
    (GENERATION, "spec.task", "extend", "every task but text and picture needs an input: set input"),
    (GENERATION, "spec.input", {"generation": "a"}, "text and picture take no input: remove it, or name a task"),
    (GENERATION, "spec.fps", 61, "should be less than or equal to 60"),
    (EXTEND, "spec.task", "picture", "text and picture take no input"),
    (EXTEND, "spec.end", {"generation": "a"}, "fill and blend need end, other tasks take none: set or remove end"),
    (EXTEND, "spec.task", "fill", "fill and blend need end"),
    (EXTEND, "spec.task", "inpaint", "inpaint needs a mask"),
    (EXTEND, "spec.mask", {"region": {"left": 0, "top": 0, "width": 8, "height": 8}}, "other tasks take none"),
    (EXTEND, "spec.input", {}, "an input has exactly one of generation, uri and upload: keep one"),
    (
        EXTEND,
        "spec.input",
        {"generation": "a", "uri": "s3://kinema/inputs/a.mp4"},
        "an input has exactly one of generation, uri",
    ),
    (
        EXTEND,
        "spec.input",
        {"generation": "a", "upload": {"sha256": "a" * 64, "bytes": 1}},
        "an input has exactly one of",
    ),
    (EXTEND, "spec.input", {"upload": {"sha256": "A" * 64, "bytes": 1}}, "an upload's sha256 is 64 hex digits"),
    (
        EXTEND,
        "spec.input",
        {"upload": {"sha256": "a" * 64, "bytes": (256 << 20) + 1}},
        "less than or equal to 268435456",
    ),
    (EXTEND, "spec.input", {"uri": "http://example/a.mp4"}, "an input's uri is s3://BUCKET/KEY: correct it"),
    (EXTEND, "spec.strength", 0.5, "strength applies to edit and blend only: remove it"),
    (GENERATION, "spec.inputSeconds", 1, "inputSeconds applies to extend and extend-back only: remove it"),
    (INPAINT, "spec.mask", {}, "a mask has exactly one of region, uri and upload: keep one"),
    (INPAINT, "spec.mask.region.width", 0, "should be greater than or equal to 1"),
    (GENERATION, "spec.shots", [{"prompt": " ", "seconds": 1}], BLANK),
    (GENERATION, "spec.shots", [{"prompt": "a red square", "seconds": 0}], "should be greater than 0"),
    (
        GENERATION,
        "spec.shots",
        [{"prompt": "a red square", "seconds": 60}],
        "all shots together are longer than 60 seconds",
    ),
    (EXTEND, "spec.shots", [{"prompt": "a red square", "seconds": 1}], "shots go with task text alone"),
    (LONG, "spec.expandPrompt", True, "expandPrompt expands a clip of one shot"),
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
    ("spec.data.richCaptions", 0.25, "data " + NEW_RUN),
    ("spec.data.videos", [{"uri": CLIPS}], "data " + NEW_RUN),
    ("spec.data.tasks", {"image": 1}, "data " + NEW_RUN),
    ("spec.data.world.shapes", {"fps": [8, 12]}, "data " + NEW_RUN),
    ("spec.optimization.steps", 101, "optimization " + NEW_RUN),
    ("spec.optimization.learningRate", 0.01, "optimization " + NEW_RUN),
    ("spec.publish", None, "publish " + NEW_RUN),
    ("spec.publish.model", "other", "publish " + NEW_RUN),
    ("spec.worker", {"resources": {"limits": {"nvidia.com/gpu": 1}}}, "worker " + NEW_RUN),
    (
        "spec.artifactStore",
        STORE,
        f"artifactStore {NEW_RUN}",
    ),
    ("spec.checkpoint", {"everySteps": 10}, "checkpoint.everySteps is fixed for a run (keep is not)"),
]
ANOTHER_CLIP = "is immutable: create another VideoGeneration"
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
            published = document.get("spec", {}).get("publish", {}).get("model")
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

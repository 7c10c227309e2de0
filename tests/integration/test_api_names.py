"""Every name in a spec that becomes a path, a label or a name of something else is one, or is refused at admission."""

from __future__ import annotations

from typing import Any

import pytest

from integration.kinds import GENERATION, MODEL, TRAINING
from integration.kubectl import Kubectl, changed

pytestmark = pytest.mark.apiserver

STEALS = "../../kinema-system/secrets/kinema-store"
STORE: dict[str, Any] = {"endpoint": "http://minio:9000", "bucket": "kinema", "secretRef": {"name": "keys"}}
EXTEND: dict[str, Any] = {
    **GENERATION,
    "spec": {**GENERATION["spec"], "task": "extend", "input": {"generation": "a"}},
}

SECRET = "a Secret's name holds only lower-case letters, digits, dashes and dots"
NAME = "starts with a letter and holds only lower-case letters, digits and dashes"
KEY = "a label's key is NAME or DOMAIN/NAME"
VALUE = "a label's value holds only letters, digits, dashes, underscores and dots"
URI = "an input's uri is s3://BUCKET/KEY"
REGION = "a region holds only letters, digits, dashes and underscores"

SECRET_NAMES = [STEALS, "..", ".", "a/b", "a%2fb", "A", "a_b", "a b", "-a", "a-", "a..b", "a\nb", "a?b", "a#b"]
RESOURCE_NAMES = ["..", "a/b", "A", "a b", "7b", "a.b", "a-", "a,b=c", "a\n"]
SELECTORS: list[tuple[dict[str, str], str]] = [
    ({"zone": "a b"}, VALUE),
    ({"zone": "a/b"}, VALUE),
    ({"zone": "-a"}, VALUE),
    ({"zone": "a\n"}, VALUE),
    ({"a b": "c"}, KEY),
    ({"": "c"}, KEY),
    ({"a/b/c": "c"}, KEY),
    ({"A.example/zone": "c"}, KEY),
    ({"a" * 64: "c"}, KEY),
    ({"a\n": "c"}, KEY),
]
URIS = [
    "s3://kinema/inputs/../models/x",
    "s3://kinema/..",
    "s3://kinema/./a",
    "s3://kinema/a//b",
    "s3://kinema/a/",
    "s3://kinema/a\nb",
    "s3://kinema/a\x7fb",
    "s3://k-/a",
]

REFUSED: list[tuple[dict[str, Any], str, Any, str]] = [
    *(
        (kind, "spec.artifactStore", {**STORE, "secretRef": {"name": name}}, SECRET)
        for kind in (TRAINING, MODEL, GENERATION)
        for name in SECRET_NAMES
    ),
    *(
        (kind, "spec.artifactStore", {**STORE, "region": region}, REGION)
        for kind in (TRAINING, MODEL, GENERATION)
        for region in ("a/b", "us east", "a\nb")
    ),
    *(
        (kind, path, name, NAME)
        for kind, path in (
            (TRAINING, "spec.publish.model"),
            (MODEL, "spec.source.training"),
            (GENERATION, "spec.modelRef.name"),
            (EXTEND, "spec.input.generation"),
        )
        for name in RESOURCE_NAMES
    ),
    *((TRAINING, "spec.worker", {"nodeSelector": selector}, sentence) for selector, sentence in SELECTORS),
    *((MODEL, "spec.serving", {"nodeSelector": selector}, sentence) for selector, sentence in SELECTORS),
    *((EXTEND, "spec.input", {"uri": uri}, URI) for uri in URIS),
]

TAKEN: list[tuple[dict[str, Any], str, Any]] = [
    (TRAINING, "spec.artifactStore", {**STORE, "secretRef": {"name": "team-a.keys.2026"}}),
    (TRAINING, "spec.artifactStore", {**STORE, "region": "garage"}),
    (TRAINING, "spec.worker", {"nodeSelector": {"topology.kubernetes.io/zone": "eu-1", "gpu": "", "A_b.c": "X_1.y"}}),
    (MODEL, "spec.serving", {"nodeSelector": {"node-role.kubernetes.io/worker": ""}}),
    (EXTEND, "spec.input", {"uri": "s3://kinema/inputs/tenant/..a/.b/c...mp4"}),
    (EXTEND, "spec.input", {"uri": "s3://kinema/inputs/tenant/Ein Bild, größer.png"}),
]


def case_id(value: Any) -> str | None:
    """The field, and what it is set to."""
    return value if isinstance(value, str) and value.startswith("spec.") else repr(value)[:40].encode().hex()[:0]


@pytest.mark.parametrize(("manifest", "path", "value", "sentence"), REFUSED, ids=case_id)
def test_a_name_that_is_none_is_refused_with_a_sentence(
    manifest: dict[str, Any], path: str, value: Any, sentence: str, kubectl: Kubectl
) -> None:
    answer = kubectl.apply(changed(manifest, path, value), "--dry-run=server")
    assert answer.code != 0
    assert sentence in answer.err


@pytest.mark.parametrize(("manifest", "path", "value"), TAKEN, ids=case_id)
def test_what_kubernetes_and_stores_allow_is_taken(
    manifest: dict[str, Any], path: str, value: Any, kubectl: Kubectl
) -> None:
    answer = kubectl.apply(changed(manifest, path, value), "--dry-run=server")
    assert answer.code == 0, answer.err

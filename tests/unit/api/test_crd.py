"""The CustomResourceDefinitions around the schemas."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kinema_api import generation, names, training
from kinema_api.crd import KINDS, Kind, crd, resource_schema
from kinema_api.reference import reference

IDS = [kind.kind for kind in KINDS]


def version_of(kind: Kind) -> dict[str, Any]:
    version: dict[str, Any] = crd(kind)["spec"]["versions"][0]
    return version


def at(schema: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The schema of a JSON path such as .spec.nodes, or None where there is no such field."""
    for part in path.strip(".").split("."):
        schema = schema.get("properties", {}).get(part)
        if schema is None:
            return None
    return schema


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_names_that_kubectl_knows(kind: Kind) -> None:
    definition = crd(kind)
    assert definition["metadata"]["name"] == f"{kind.plural}.{names.GROUP}"
    assert definition["spec"]["names"]["categories"] == ["kinema"]
    assert definition["spec"]["scope"] == "Namespaced"
    assert version_of(kind)["subresources"]["status"] == {}


def test_short_names_differ() -> None:
    assert [kind.short for kind in KINDS] == ["vmt", "vmodel", "vgen"]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_every_path_names_a_field_of_the_right_type(kind: Kind) -> None:
    schema = resource_schema(kind)
    for column in kind.columns:
        if column.type != "date":
            found = at(schema, column.path)
            assert found is not None, column.path
            assert found["type"] == column.type
    for path in (*(kind.scale or ()), *kind.selectable):
        assert at(schema, path) is not None, path


def test_a_training_scales_its_nodes() -> None:
    assert version_of(KINDS[0])["subresources"]["scale"] == {
        "specReplicasPath": ".spec.nodes",
        "statusReplicasPath": ".status.nodes.ready",
        "labelSelectorPath": ".status.selector",
    }


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_the_longest_name_is_the_one_that_derived_names_allow(kind: Kind) -> None:
    rules = {rule["rule"] for rule in resource_schema(kind)["x-kubernetes-validations"]}
    assert f"size(self.metadata.name) <= {names.MAX_NAME_LENGTH}" in rules
    longest = "x" * names.MAX_NAME_LENGTH
    assert len(names.job_name(longest, 999, 999)) + len("-63-xxxxx") <= 63
    assert len(names.store_name(longest, 999, 999)) <= 63
    assert len(names.server_name(longest, "sha256:" + "a" * 64)) <= 63


def test_every_field_of_a_generation_but_cancel_is_fixed() -> None:
    fields = {field.alias for field in generation.VideoGenerationSpec.model_fields.values()}
    assert fields - {"cancel", "artifactStore"} == set(generation.IMMUTABLE), "of a store all but its caBundle is fixed"


def test_what_may_change_in_a_training_is_what_the_design_lists() -> None:
    fields = {field.alias for field in training.VideoModelTrainingSpec.model_fields.values()}
    kept = {"ttlSecondsAfterFinished", "deletionPolicy", "artifactStore"}  # of a store its caBundle alone
    assert fields - set(training.IMMUTABLE) - kept == {"nodes", "elastic", "suspend", "checkpoint", "runId"}


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_every_field_of_a_spec_says_what_it_is(kind: Kind) -> None:
    def undescribed(schema: dict[str, Any], path: str) -> list[str]:
        found = [] if schema.get("description") else [path]
        for name, child in schema.get("properties", {}).items():
            found += undescribed(child, f"{path}.{name}")
        return found

    assert undescribed(resource_schema(kind)["properties"]["spec"], "spec") == []


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_every_rule_says_what_to_do(kind: Kind) -> None:
    def messages(schema: dict[str, Any]) -> list[str]:
        found = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
        for child in schema.get("properties", {}).values():
            found += messages(child)
        return found

    spec = resource_schema(kind)
    remedies = ":|,|give |holds only"
    assert all(re.search(remedies, message) for message in messages(spec))


def test_the_reference_names_every_field_and_refusal() -> None:
    text = reference()
    for kind in KINDS:
        assert f"## {kind.kind}" in text
    assert "| `elastic.minNodes` | integer | **required**; at least 1; at most 1024 |" in text
    assert "`status`" not in text
    assert "`size`: size is WIDTHxHEIGHT" in text

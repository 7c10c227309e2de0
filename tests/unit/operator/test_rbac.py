"""Least privilege, read off the data; tests/integration/test_rights.py asks a real API server about the same."""

from __future__ import annotations

from typing import Any

import pytest

from kinema_api import names
from kinema_operator.core.resources import CHILD_KINDS, CUSTOM_KINDS, resource
from kinema_operator.manifests import rbac


def verbs_on(resource_name: str, rules: tuple[dict[str, Any], ...] = rbac.OPERATOR_RULES) -> set[str]:
    return {verb for rule in rules if resource_name in rule["resources"] for verb in rule["verbs"]}


def test_nothing_is_granted_by_wildcard() -> None:
    for rule in (*rbac.OPERATOR_RULES, *rbac.OWN_RULES, *(r for role in rbac.user_roles() for r in role["rules"])):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_secrets_are_read_nowhere_but_where_a_namespace_allows_it() -> None:
    assert verbs_on("secrets") == {"create", "patch"}
    assert verbs_on("secrets", rbac.SECRETS_RULES) == {"get"}


@pytest.mark.parametrize("kind", [*CUSTOM_KINDS, *CHILD_KINDS])
def test_what_is_watched_may_be_watched(kind: str) -> None:
    assert verbs_on(resource(kind).plural) >= {"get", "list", "watch"}


def test_nodes_are_read_in_the_whole_cluster_only_and_nothing_else_is() -> None:
    assert verbs_on("nodes") == verbs_on("pods/status") == set()
    assert verbs_on("nodes", rbac.NODE_RULES) == {"get", "list", "watch"}
    assert verbs_on("pods/status", rbac.LOST_POD_RULES) == {"patch"}
    assert [rule["resources"] for rule in rbac.NODE_RULES] == [["nodes"]]


def test_specs_of_trainings_and_generations_belong_to_people() -> None:
    # Metadata alone: the admission policy refuses the operator any change of a spec. Deleted once its ttl is over.
    assert verbs_on("videomodeltrainings") == {"get", "list", "watch", "patch", "delete"}
    # Deleted once its own ttlSecondsAfterFinished is over, and never changed.
    assert verbs_on("videogenerations") == {"get", "list", "watch", "delete"}


def test_leases_elsewhere_are_touched_only_by_the_name_of_the_claim() -> None:
    rules = [rule for rule in rbac.OPERATOR_RULES if "leases" in rule["resources"]]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in rules] == [
        (["create"], None),
        (["get", "update"], [names.CLAIM_LEASE]),
    ]
    role = next(m for m in rbac.operator_manifests() if m["metadata"]["name"] == rbac.OWN_ROLE)
    assert role["kind"] == "Role"
    assert role["metadata"]["namespace"] == rbac.SYSTEM_NAMESPACE


def test_people_never_write_status() -> None:
    for role in rbac.user_roles():
        for rule in role["rules"]:
            if any(name.endswith("/status") for name in rule["resources"]):
                assert set(rule["verbs"]) <= {"get", "list", "watch"}


def test_the_account_has_one_name_in_the_audit_log() -> None:
    assert rbac.audit_user() == "system:serviceaccount:kinema-system:kinema-operator"

"""Whether a live object already says what we would say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_operator.core.semantic import APPLIED_ANNOTATION, covers, merge_patch, quantity, with_digest

DESIRED: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d", "namespace": "n", "labels": {"a": "b"}},
    "spec": {
        "replicas": 0,
        "template": {
            "spec": {
                "automountServiceAccountToken": False,
                "nodeSelector": {},
                "containers": [
                    {
                        "name": "c",
                        "image": "i",
                        "args": ["--x", "1"],
                        "env": [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}],
                        "ports": [{"containerPort": 80}],
                        "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 1}},
                        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
            }
        },
    },
}


def live() -> dict[str, Any]:
    """The same after the API server has defaulted and normalised it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "labels": {"a": "b", "other": "x"}, "uid": "u", "generation": 1},
        "spec": {
            "replicas": 0,
            "strategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"creationTimestamp": None},
                "spec": {
                    "automountServiceAccountToken": False,
                    "dnsPolicy": "ClusterFirst",
                    "containers": [
                        {
                            "name": "c",
                            "image": "i",
                            "imagePullPolicy": "Always",
                            "args": ["--x", "1"],
                            "env": [{"name": "A", "value": "1"}, {"name": "EMPTY"}],
                            "ports": [{"containerPort": 80, "protocol": "TCP"}],
                            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}},
                            "volumeMounts": [
                                {"name": "tmp", "mountPath": "/tmp"},
                                {"name": "kube-api-access", "mountPath": "/var/run/secrets", "readOnly": True},
                            ],
                        }
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "kube-api-access"}],
                },
            },
        },
        "status": {"replicas": 0},
    }


def test_defaults_normalised_quantities_and_left_out_zeros_are_no_difference() -> None:
    assert covers(live(), DESIRED)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replicas"), 1),
        (("metadata", "labels"), {"other": "x"}),
        (("spec", "template", "spec", "containers", 0, "image"), "j"),
        (("spec", "template", "spec", "containers", 0, "args"), ["--x", "1", "--y"]),
        (("spec", "template", "spec", "containers", 0, "env"), [{"name": "A", "value": "2"}]),
        (("spec", "template", "spec", "containers", 0, "resources", "limits", "cpu"), "2"),
        (("spec", "template", "spec", "volumes"), [{"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}}]),
        (("spec", "template", "spec", "volumes"), []),
        (("spec", "template", "spec", "automountServiceAccountToken"), True),
        (("spec", "template", "spec", "nodeSelector"), None),
    ],
)
def test_a_change_by_somebody_else_is_a_difference(path: tuple[Any, ...], value: Any) -> None:
    changed = live()
    target: Any = changed
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    assert covers(changed, DESIRED) is (path[-1] == "nodeSelector")


def test_what_we_no_longer_state_changes_the_digest() -> None:
    before = with_digest(DESIRED)
    metadata = {k: v for k, v in DESIRED["metadata"].items() if k != "labels"}
    after = with_digest({**DESIRED, "metadata": metadata})
    assert covers(before, before)
    assert not covers(before, after)
    assert before["metadata"]["annotations"][APPLIED_ANNOTATION] != after["metadata"]["annotations"][APPLIED_ANNOTATION]
    assert "annotations" not in DESIRED["metadata"], "the manifest of the plan stays as it is"


def test_a_secret_is_compared_as_it_is_kept() -> None:
    desired = {"kind": "Secret", "stringData": {"k": "v"}}
    assert covers({"kind": "Secret", "data": {"k": "dg=="}}, desired)
    assert not covers({"kind": "Secret", "data": {"k": "dw=="}}, desired)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        (2, 2),
        ("500m", Decimal("0.5")),
        ("1Ki", 1024),
        ("1.5Gi", 1536 * 1024**2),
        ("2k", 2000),
        ("3E", 3 * 10**18),
    ],
)
def test_quantities(text: str | int, value: Any) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "x", "1Q", "Gi"])
def test_what_is_no_quantity_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity; write"):
        quantity(text)


@given(st.decimals(0, 10**6, places=3))
def test_a_quantity_in_thousandths_is_the_same_quantity(value: Decimal) -> None:
    assert quantity(f"{int(value * 1000)}m") == value


JSON = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text("xyz", min_size=1, max_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("xyz", min_size=1, max_size=1), JSON, max_size=3)


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_turns_one_into_the_other_and_is_empty_only_for_equals(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    patch = merge_patch(old, new)
    assert merge(old, patch) == new
    assert (not patch) == (old == new)
    assert merge_patch(new, new) == {}

"""Session policies of pods' keys: literal prefixes, separate statements, and a length that STS accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_api.data import MAX_URI_BYTES, Data
from kinema_api.errors import InvalidManifest, StorageDenied
from kinema_api.recorded import MAX_PREFIXES
from kinema_api.training import VideoModelTraining
from kinema_operator.shell.sts import MAX_POLICY_BYTES, scoped_policy
from kinema_operator.training.scope import Scope, of_preparers


def allowed(scope: Scope) -> dict[str, set[str]]:
    """Resources by action, and the prefixes that may be listed."""
    found: dict[str, set[str]] = {"list": set()}
    for statement in json.loads(scoped_policy("b", scope))["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in statement["Action"]:
            found.setdefault(action, set()).update(statement["Resource"])
        found["list"] |= set(statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", []))
    return found


def test_reading_writing_and_listing_are_apart() -> None:
    found = allowed(Scope(write=("w/",), append=("a/",), read=("r",), browse=("l/",)))
    assert found["s3:PutObject"] == {"arn:aws:s3:::b/w/*", "arn:aws:s3:::b/a/*"}
    assert found["s3:GetObject"] == {f"arn:aws:s3:::b/{prefix}*" for prefix in ("w/", "a/", "r", "l/")}
    assert found["list"] == {"w/*", "l/*"}
    assert "s3:DeleteObject" not in found


@pytest.mark.parametrize("prefix", ["inputs/team*/", "inputs/tea?/", "inputs/${aws:username}/"])
def test_a_prefix_that_would_match_others_is_refused(prefix: str) -> None:
    with pytest.raises(StorageDenied, match="use another folder"):
        scoped_policy("b", Scope(write=(), browse=(prefix,)))
    with pytest.raises(InvalidManifest, match="rename the folder"):
        Data.parse({"videos": [{"uri": f"s3://bb/{prefix}"}]})


@given(
    bucket=st.integers(3, 63),
    lengths=st.lists(st.integers(1, 490), min_size=1, max_size=MAX_PREFIXES),
    letter=st.sampled_from("a\u00e9\u6c34\U0001f3de"),
)
def test_what_admission_lets_in_fits_into_a_policy(bucket: int, lengths: list[int], letter: str) -> None:
    """With the longest names of namespace and training that there are."""
    name = "b" * bucket
    uris = [f"s3://{name}/{number}{letter * length}/" for number, length in enumerate(lengths)]
    spec: dict[str, Any] = {"videos": [{"uri": uri} for uri in uris]}
    if sum(len(uri.encode()) for uri in uris) > MAX_URI_BYTES or any(len(uri) > 512 for uri in uris):
        with pytest.raises(InvalidManifest):
            Data.parse(spec)
        return
    training = VideoModelTraining.parse(
        {
            "metadata": {"name": "n" * 40, "namespace": "s" * 63, "uid": "u" * 36},
            "spec": {"model": {"preset": "tiny"}, "data": spec, "optimization": {"steps": 1}},
            "status": {"run": 999},
        }
    )
    assert len(scoped_policy(name, of_preparers(training)).encode()) <= MAX_POLICY_BYTES

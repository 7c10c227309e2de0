"""A model has the servers that it controls, whatever labels others write on theirs."""

from __future__ import annotations

from typing import Any

import pytest

from kinema_api import names
from kinema_api.generation import VideoGeneration
from kinema_api.serving import VideoModel
from kinema_operator.core.resources import CHILD_KINDS, CUSTOM_KINDS
from kinema_operator.core.settings import Settings
from kinema_operator.generation.observe import servers_of
from kinema_operator.serving.folders import Folders
from kinema_operator.serving.objects.deployment import server_deployment
from kinema_operator.serving.observe import observe
from kinema_operator.shell.cache import ObjectCache

DIGEST = "sha256:" + "a" * 64
META: dict[str, Any] = {"name": "m", "namespace": "studio", "uid": "model-uid", "resourceVersion": "1"}
OBJECT: dict[str, Any] = {
    "apiVersion": "kinema.dev/v1alpha1",
    "kind": "VideoModel",
    "metadata": META,
    "spec": {"source": {"training": "t"}},
}
MODEL = VideoModel.parse(OBJECT)
CLIP = VideoGeneration.parse(
    {"metadata": {"name": "c", "namespace": "studio"}, "spec": {"modelRef": {"name": "m"}, "prompt": "a red square"}}
)
DEPLOYMENT = names.server_name("m", DIGEST)


def deployment(name: str, owner_uid: str | None) -> dict[str, Any]:
    made = dict(server_deployment(MODEL, DIGEST, 1, Settings()))
    owners = [{**o, "uid": owner_uid} for o in made["metadata"]["ownerReferences"]] if owner_uid else []
    return {**made, "metadata": {**made["metadata"], **version(name), "ownerReferences": owners}}


def pod(name: str, owner: dict[str, Any] | None) -> dict[str, Any]:
    labels = server_deployment(MODEL, DIGEST, 1, Settings())["spec"]["template"]["metadata"]["labels"]
    owners = [{"apiVersion": "apps/v1", "uid": "u", "controller": True, **owner}] if owner else []
    metadata = {"namespace": "studio", "labels": labels, **version(name), "ownerReferences": owners}
    status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status}


def version(name: str) -> dict[str, str]:
    return {"name": name, "uid": f"uid-{name}", "resourceVersion": "5"}


@pytest.fixture
def cache() -> ObjectCache:
    """Two pods of the model's own Deployment, and whatever somebody else may have made with the same labels."""
    made = ObjectCache(lambda _: None)
    for kind in (*CUSTOM_KINDS, *CHILD_KINDS):
        made.watch_kind(kind, {})
    made.replace("VideoModel", [OBJECT], 5)
    made.replace(
        "Deployment", [deployment(DEPLOYMENT, "model-uid"), deployment("orphan", None), deployment("x", "y")], 5
    )
    replica_set = {"kind": "ReplicaSet", "name": f"{DEPLOYMENT}-7d9f"}
    pods = [
        pod("own", replica_set),
        pod("too", replica_set),
        pod("forged", None),
        pod("job", {**replica_set, "kind": "Job"}),
    ]
    pods += [
        pod("orphans", {"kind": "ReplicaSet", "name": "orphan-1"}),
        pod("xs", {"kind": "ReplicaSet", "name": "x-1"}),
    ]
    made.replace("Pod", pods, 5)
    return made


async def test_a_model_has_the_servers_that_it_controls(cache: ObjectCache) -> None:
    stores: Any = None
    seen = await observe(MODEL, cache, stores, Folders(), Settings())
    assert [server.name for server in seen.servers] == ["own", "too"]
    assert [served.deployment.name for served in seen.served] == [DEPLOYMENT]


def test_a_request_is_given_to_servers_that_the_model_controls(cache: ObjectCache) -> None:
    assert sorted(server.name for server in servers_of(CLIP, cache)) == ["own", "too"]

"""A new model comes without an outage, no model gets more servers than it may, and a held request gets none."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kinema_api import generation, names, serving
from kinema_api.base import Condition, find_condition
from kinema_api.serving import VideoModel, VideoModelStatus
from kinema_operator.core.plan import Plan, Ref
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.requests import Request, idle_servers, request
from kinema_operator.dispatch.server_pod import ServerPod, server_pod
from kinema_operator.serving.controller import ModelController
from kinema_operator.serving.observed import Observed, Served, Source
from kinema_operator.serving.plan import plan

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OLD = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64
SETTINGS = Settings(store_endpoint="http://minio.store.svc:9000")
NO_NODE = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector."


def model(status: VideoModelStatus | None = None, **spec: Any) -> VideoModel:
    metadata = {"name": "tiny", "namespace": "studio", "uid": "u", "creationTimestamp": NOW.isoformat()}
    parsed = VideoModel.parse({"metadata": metadata, "spec": {"source": {"training": "world"}, "serving": spec}})
    return parsed.model_copy(update={"status": status or VideoModelStatus()})


def served(digest: str, replicas: int) -> Served:
    name = names.server_name("tiny", digest)
    return Served(names.short_digest(digest), replicas, Ref("apps/v1", "Deployment", "studio", name, f"d-{name}"), None)


def manifest(name: str, digest: str = OLD, ready: bool = True, **fields: Any) -> dict[str, Any]:
    """A server's pod as the API server has it."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *fields.pop("conditions", ())]
    labels = {**names.common_labels("tiny", "server"), names.LABEL_MODEL: "tiny"}
    labels |= {names.LABEL_DIGEST: names.short_digest(digest), names.LABEL_COMPONENT: names.COMPONENT_SERVER}
    metadata = {"name": name, "namespace": "studio", "uid": f"uid-{name}", "resourceVersion": "1"}
    return {
        "kind": "Pod",
        "metadata": {**metadata, "labels": {**labels, **fields.pop("labels", {})}, **fields.pop("metadata", {})},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions, **fields},
    }


def pod(name: str, digest: str = OLD, **fields: Any) -> ServerPod:
    return server_pod(manifest(name, digest, **fields))


def replicas(decided: Plan) -> dict[str, int]:
    deployments = [a.manifest for a in decided.apply if a.manifest["kind"] == "Deployment"]
    return {d["metadata"]["labels"][names.LABEL_DIGEST][0]: d["spec"]["replicas"] for d in deployments}


def status_of(decided: Plan) -> VideoModelStatus:
    assert isinstance(decided.status, VideoModelStatus)
    return decided.status


def condition(decided: Plan, type_: str) -> Condition | None:
    return find_condition(status_of(decided).conditions, type_)


def test_the_servers_of_the_former_model_stay_until_one_of_the_new_one_is_ready() -> None:
    warm = VideoModelStatus(digest=OLD, last_active_time=NOW)
    world = Observed(Source(NEW), servers=(pod("old"),), served=(served(OLD, 1),))
    first = plan(model(warm), world, SETTINGS, NOW)
    assert first.delete == ()
    assert replicas(first) == {"a": 1, "b": 1}
    starting = dataclasses.replace(
        world, servers=(pod("old"), pod("new", NEW, ready=False)), served=(served(NEW, 1), served(OLD, 1))
    )
    second = plan(model(status_of(first)), starting, SETTINGS, NOW + timedelta(seconds=30))
    assert second.delete == ()
    assert replicas(second) == {"a": 1, "b": 1}
    ready = dataclasses.replace(starting, servers=(pod("old"), pod("new", NEW)))
    third = plan(model(status_of(second)), ready, SETTINGS, NOW + timedelta(seconds=40))
    assert [ref.name for ref in third.delete] == [names.server_name("tiny", OLD)]
    assert replicas(third) == {"b": 1}


def test_where_no_node_takes_the_new_server_the_former_ones_make_room_and_a_condition_says_so() -> None:
    since = {"lastTransitionTime": "2026-01-01T12:00:00Z"}
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_NODE, **since}
    stuck = pod("new", NEW, ready=False, phase="Pending", conditions=[unschedulable])
    world = Observed(Source(NEW), servers=(pod("old"), stuck), served=(served(NEW, 1), served(OLD, 1)))
    before = VideoModelStatus(digest=OLD, last_active_time=NOW)
    early = plan(model(before), world, SETTINGS, NOW + timedelta(seconds=59))
    assert early.delete == ()
    late = plan(model(status_of(early)), world, SETTINGS, NOW + timedelta(seconds=61))
    assert [ref.name for ref in late.delete] == [names.server_name("tiny", OLD)]
    told = condition(late, "RolledOut")
    assert told is not None
    assert (told.status, told.reason) == ("False", "Unschedulable")
    assert "Insufficient cpu" in told.message
    busy = dataclasses.replace(
        world, requests=(Request("clip", "tiny", "2026-01-01T11:00:00Z", "Running", OLD, "uid-old"),)
    )
    kept = plan(model(status_of(early)), busy, SETTINGS, NOW + timedelta(seconds=61))
    assert kept.delete == ()


def test_a_model_never_has_more_servers_than_it_may_whatever_its_requests_are_pinned_to() -> None:
    waiting = tuple(
        Request(f"clip-{number}", "tiny", f"2026-01-01T11:00:{number:02d}Z", "Pending", digest)
        for number, digest in enumerate([OLD, NEW, OLD, NEW, OLD, NEW])
    )
    world = Observed(Source(NEW), waiting, (), (served(OLD, 0), served(NEW, 0)))
    decided = plan(model(VideoModelStatus(digest=NEW), maxReplicas=2), world, SETTINGS, NOW)
    assert sum(replicas(decided).values()) == 2
    running = tuple(dataclasses.replace(r, phase="Running", server_uid=r.name) for r in waiting[::2][:2])
    world = Observed(Source(NEW), (*running, *waiting[1::2]), (), (served(OLD, 2), served(NEW, 0)))
    decided = plan(model(VideoModelStatus(digest=NEW), maxReplicas=2), world, SETTINGS, NOW)
    assert replicas(decided) == {"a": 2, "b": 0}


def held(reason: str, type_: str = "Accepted") -> dict[str, Any]:
    """A generation that waits for something else than a server."""
    unmet = {"type": type_, "status": "False", "reason": reason, "message": "wait"}
    return {
        "kind": generation.KIND,
        "metadata": {"name": "clip", "namespace": "studio", "creationTimestamp": "2026-01-01T11:00:00Z"},
        "spec": {"modelRef": {"name": "tiny"}, "prompt": "x"},
        "status": {"phase": "Pending", "conditions": [unmet], "modelDigest": OLD},
    }


@pytest.mark.parametrize("reason", ["StorageUnreachable", "StorageFailed", "ModelMissing", "InputNotReady"])
@pytest.mark.parametrize("type_", ["Accepted", "Scheduled"])
def test_a_request_held_by_its_own_store_stands_in_no_line_and_keeps_nothing_warm(reason: str, type_: str) -> None:
    waits = request(held(reason, type_))
    assert not waits.waiting
    long_ago = VideoModelStatus(digest=OLD, last_active_time=NOW - timedelta(days=1))
    world = Observed(Source(OLD), (waits,), (pod("idle"),), (served(OLD, 1),))
    assert replicas(plan(model(long_ago), world, SETTINGS, NOW)) == {"a": 0}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_NODE}
                ],
            },
            "didn't match Pod's node affinity/selector",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "server",
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image: kinema:typo"}},
                    }
                ]
            },
            "ImagePullBackOff: no such image: kinema:typo",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "server",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                    }
                ]
            },
            "OOMKilled (137)",
        ),
    ],
    ids=["unschedulable", "image", "crash"],
)
def test_why_no_server_runs_is_told_in_the_pods_own_words(fields: dict[str, Any], says: str) -> None:
    waiting = Request("clip", "tiny", "2026-01-01T11:00:00Z", "Pending", OLD)
    world = Observed(Source(OLD), (waiting,), (pod("server", ready=False, **fields),), (served(OLD, 1),))
    available = condition(plan(model(VideoModelStatus(digest=OLD)), world, SETTINGS, NOW), "Available")
    assert available is not None
    assert says in available.message


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"deletionTimestamp": "2026-01-01T12:00:00Z"}},
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]},
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]},
        {"phase": "Failed", "reason": "Evicted"},
    ],
    ids=["deleted", "drained", "preempted", "lost node", "evicted"],
)
def test_a_pod_that_is_about_to_go_gets_no_request(fields: dict[str, Any]) -> None:
    going, staying = pod("a-going", **fields), pod("b-staying")
    assert [server.name for server in idle_servers((going, staying), ())] == ["b-staying"]


def test_a_server_that_a_roll_out_will_not_take_away_is_chosen_first() -> None:
    older = pod("a", labels={"pod-template-hash": "old"}, metadata={"creationTimestamp": "2026-01-01T10:00:00Z"})
    newer = pod("b", labels={"pod-template-hash": "new"}, metadata={"creationTimestamp": "2026-01-01T11:00:00Z"})
    older.available  # noqa: B018 - both can serve
    assert [server.name for server in idle_servers((older, newer), ())] == ["b", "a"]


class Walked:
    """A cache that counts the generations that are walked through."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self.walked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def list(self, kind: str, *where: Any) -> Any:
        found = list(self._cache.list(kind, *where))
        self.walked += len(found) if kind == generation.KIND else 0
        return found


async def test_a_look_does_not_walk_through_the_generations_of_the_namespace() -> None:
    from kinema_operator.shell.cache import ObjectCache

    known = ObjectCache(lambda _obj: None)
    for kind in (generation.KIND, serving.KIND, "Pod", "Deployment", "Service"):
        known.watch_kind(kind, {})
    for number in range(2000):
        phase = "Succeeded" if number % 2 else "Pending"
        metadata = {
            "name": f"clip-{number}",
            "namespace": "studio",
            "uid": f"u{number}",
            "resourceVersion": f"{number + 1}",
        }
        known.advance(
            generation.KIND,
            "ADDED",
            {
                "kind": generation.KIND,
                "metadata": {
                    **metadata,
                    "creationTimestamp": f"2026-01-01T11:{number // 60 % 60:02d}:{number % 60:02d}Z",
                },
                "spec": {"modelRef": {"name": "tiny"}, "prompt": "x"},
                "status": {"phase": phase, "modelDigest": OLD, "completionTime": "2026-01-01T11:59:59Z"},
            },
        )
    obj = {"kind": serving.KIND, **model(VideoModelStatus(digest=OLD)).to_wire()}
    controller = ModelController(SETTINGS, object(), object())  # type: ignore[arg-type]
    cache: Any = Walked(known)
    from kinema_operator.core.plan import Key

    key = Key(serving.KIND, "studio", "tiny")
    await controller.observe(key, controller.parse({**obj, "spec": {**obj["spec"], "source": {"digest": OLD}}}), cache)
    cache.walked = 0
    seen = await controller.observe(
        key, controller.parse({**obj, "spec": {**obj["spec"], "source": {"digest": OLD}}}), cache
    )
    assert cache.walked < 10
    assert len(seen.requests) < 1000
    decided = plan(model(VideoModelStatus(digest=OLD)), seen, SETTINGS, NOW)
    assert status_of(decided).waiting == 1000

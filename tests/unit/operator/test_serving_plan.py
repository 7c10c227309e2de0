"""What is decided for a model: which digest, how many servers, whom to wake, and that nothing moves without cause."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_api import generation, names
from kinema_api.base import find_condition
from kinema_api.serving import Serving, VideoModel, VideoModelStatus
from kinema_operator.core.plan import Key, Plan, Ref
from kinema_operator.core.pods import SCRATCH_VOLUME
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.requests import Request
from kinema_operator.dispatch.server_pod import DELETION_COST_ANNOTATION, ServerPod
from kinema_operator.serving.observed import Demand, Observed, Served, Source
from kinema_operator.serving.plan import plan
from kinema_operator.serving.scaling import desired_replicas

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OLD = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64
SETTINGS = Settings(store_endpoint="http://minio.store.svc:9000")


def model(status: VideoModelStatus | None = None, source: dict[str, Any] | None = None, **serving: Any) -> VideoModel:
    parsed = VideoModel.parse(
        {
            "metadata": {"name": "tiny", "namespace": "studio", "uid": "u", "creationTimestamp": NOW.isoformat()},
            "spec": {"source": source or {"training": "world"}, "serving": serving},
        }
    )
    return parsed.model_copy(update={"status": status or VideoModelStatus()})


def served(digest: str, replicas: int) -> Served:
    name = names.server_name("tiny", digest)
    deployment = Ref("apps/v1", "Deployment", "studio", name, f"d-{name}")
    return Served(names.short_digest(digest), replicas, deployment, Ref("v1", "Service", "studio", name, f"s-{name}"))


def pod(number: int, digest: str = OLD, **fields: Any) -> ServerPod:
    short = names.short_digest(digest)
    return ServerPod("studio", f"pod-{number}", f"u{number}", "7", short, "10.0.0.1", **{"ready": True, **fields})


def request(name: str, phase: str = "Pending", digest: str | None = OLD, **fields: Any) -> Request:
    return Request(name, "tiny", "2026-01-01T11:00:00Z", phase, digest, **fields)


def replicas(decided: Plan) -> dict[str, int]:
    deployments = [a.manifest for a in decided.apply if a.manifest["kind"] == "Deployment"]
    return {d["metadata"]["labels"][names.LABEL_DIGEST]: d["spec"]["replicas"] for d in deployments}


def status_of(decided: Plan) -> VideoModelStatus:
    assert isinstance(decided.status, VideoModelStatus)
    return decided.status


@pytest.mark.parametrize("reason", ["TrainingNotFound", "NotPublishedYet"])
def test_a_model_without_a_digest_waits_and_says_for_what(reason: str) -> None:
    decided = plan(model(), Observed(Source(reason=reason, message="wait")), SETTINGS, NOW)
    status = status_of(decided)
    resolved = find_condition(status.conditions, "Resolved")
    assert resolved is not None
    assert (status.phase, resolved.status, resolved.reason, resolved.message) == ("Pending", "False", reason, "wait")
    assert decided.apply == ()
    assert decided.requeue_after == SETTINGS.store_probe_seconds


def test_a_digest_that_was_served_stays_when_its_training_goes_away() -> None:
    before = VideoModelStatus(digest=OLD, uri="s3://kinema/models/a/")
    status = status_of(plan(model(before), Observed(Source(reason="TrainingNotFound")), SETTINGS, NOW))
    assert (status.digest, status.uri) == (OLD, "s3://kinema/models/a/")


def test_a_source_that_names_another_digest_lets_go_of_the_one_served() -> None:
    before = VideoModelStatus(digest=OLD)
    status = status_of(plan(model(before, {"digest": NEW}), Observed(Source(reason="ModelNotFound")), SETTINGS, NOW))
    assert status.digest is None


@pytest.mark.parametrize(
    ("active", "recent", "current", "warm", "low", "high", "desired"),
    [
        (0, 0, 0, False, 0, 3, 0),
        (1, 0, 0, False, 0, 3, 1),
        (9, 0, 1, False, 0, 3, 3),
        (0, 0, 3, False, 1, 3, 1),
        (0, 0, 1, True, 0, 3, 1),
        (1, 2, 3, True, 0, 3, 3),
        (1, 1, 3, True, 0, 3, 2),
        (0, 5, 0, True, 0, 3, 0),
        (0, 5, 9, True, 0, 3, 3),
    ],
)
def test_replicas(active: int, recent: int, current: int, warm: bool, low: int, high: int, desired: int) -> None:
    serving = Serving(min_replicas=low, max_replicas=high)
    assert desired_replicas(Demand(active, recent), current, warm, serving) == desired


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 8), st.booleans(), st.integers(0, 4), st.integers(1, 8))
def test_replicas_stay_within_bounds_and_busy_servers_are_never_too_many(
    active: int, recent: int, current: int, warm: bool, low: int, extra: int
) -> None:
    serving = Serving(min_replicas=low, max_replicas=low + extra)
    desired = desired_replicas(Demand(active, recent), current, warm, serving)
    assert low <= desired <= low + extra
    assert desired >= min(active, low + extra)
    assert desired_replicas(Demand(active, recent), desired, warm, serving) == desired


def test_scales_to_zero_when_idle_seconds_are_over_and_not_before() -> None:
    before = VideoModelStatus(digest=OLD, last_active_time=NOW - timedelta(seconds=299))
    world = Observed(Source(OLD), servers=(pod(0),), served=(served(OLD, 1),))
    early = plan(model(before), world, SETTINGS, NOW)
    assert replicas(early) == {names.short_digest(OLD): 1}
    assert early.requeue_after == 1
    late = plan(model(before), world, SETTINGS, NOW + timedelta(seconds=1))
    assert replicas(late) == {names.short_digest(OLD): 0}


def test_the_former_digest_is_served_until_its_last_request_is_done() -> None:
    world = Observed(
        Source(NEW),
        requests=(request("old", "Running", OLD, server_uid="u0"), request("new", digest=None)),
        servers=(pod(0),),
        served=(served(OLD, 1),),
    )
    during = plan(model(VideoModelStatus(digest=OLD)), world, SETTINGS, NOW)
    assert replicas(during) == {names.short_digest(OLD): 1, names.short_digest(NEW): 1}
    assert during.delete == ()
    assert status_of(during).digest == NEW
    done = Observed(Source(NEW), requests=(request("old", "Succeeded", OLD),), served=(served(OLD, 1), served(NEW, 1)))
    after = plan(model(VideoModelStatus(digest=NEW)), done, SETTINGS, NOW)
    assert {(ref.kind, ref.name) for ref in after.delete} == {
        ("Deployment", names.server_name("tiny", OLD)),
        ("Service", names.server_name("tiny", OLD)),
    }
    assert all(ref.uid for ref in after.delete)


def test_busy_servers_are_marked_before_any_server_goes() -> None:
    running = request("clip", "Running", server_uid="u1")
    world = Observed(Source(OLD), (running,), (pod(0), pod(1), pod(2, deletion_cost=1000)), (served(OLD, 3),))
    first = plan(model(VideoModelStatus(digest=OLD), idleSeconds=0, maxReplicas=3), world, SETTINGS, NOW)
    assert replicas(first) == {names.short_digest(OLD): 3}
    costs = {p.ref.name: p.body["metadata"]["annotations"][DELETION_COST_ANNOTATION] for p in first.patches}
    assert costs == {"pod-1": "1000", "pod-2": None}
    assert first.requeue_after is not None
    marked = Observed(Source(OLD), (running,), (pod(0), pod(1, deletion_cost=1000), pod(2)), (served(OLD, 3),))
    second = plan(model(VideoModelStatus(digest=OLD), idleSeconds=0, maxReplicas=3), marked, SETTINGS, NOW)
    assert replicas(second) == {names.short_digest(OLD): 1}


def test_wakes_those_for_whom_there_is_a_server_and_those_that_may_be_pinned() -> None:
    world = Observed(
        Source(OLD),
        requests=(request("a"), request("b"), request("c"), request("unpinned", digest=None)),
        servers=(pod(0), pod(1, ready=False)),
        served=(served(OLD, 2),),
    )
    decided = plan(model(VideoModelStatus(digest=OLD)), world, SETTINGS, NOW)
    assert decided.wake == (Key(generation.KIND, "studio", "a"), Key(generation.KIND, "studio", "unpinned"))


requests = st.lists(
    st.builds(
        request,
        st.integers(0, 9).map(str),
        st.sampled_from(["Pending", "Scheduled", "Running", "Succeeded", "Failed"]),
        st.sampled_from([None, OLD, NEW]),
        server_uid=st.sampled_from([None, "u0", "u1"]),
        completed=st.sampled_from([None, NOW, NOW - timedelta(seconds=100), NOW - timedelta(days=1)]),
    ),
    unique_by=lambda r: r.name,
    max_size=6,
)
worlds = st.builds(
    Observed,
    source=st.sampled_from([Source(OLD), Source(NEW), Source(reason="NotPublishedYet", message="wait")]),
    requests=requests.map(tuple),
    servers=st.lists(st.builds(pod, st.integers(0, 3), ready=st.booleans()), unique_by=lambda p: p.name).map(tuple),
    served=st.lists(
        st.builds(served, st.sampled_from([OLD, NEW]), st.integers(0, 3)), unique_by=lambda s: s.short_digest
    ).map(tuple),
)


@given(worlds, st.sampled_from([None, OLD, NEW]), st.integers(0, 3))
def test_the_same_world_gives_the_same_plan_and_a_plan_settles(
    world: Observed, digest: str | None, waiting: int
) -> None:
    before = VideoModelStatus(digest=digest, waiting=waiting)
    first = plan(model(before), world, SETTINGS, NOW)
    assert plan(model(before), world, SETTINGS, NOW) == first
    again = plan(model(status_of(first)), world, SETTINGS, NOW)
    assert again.status == first.status
    assert again.apply == first.apply
    assert again.events == ()


def test_servers_of_a_folder_have_room_for_it_and_those_of_a_former_one_stay_as_they_are() -> None:
    folder = {"folder": "s3://kinema/inputs/studio/wan/"}
    before = VideoModelStatus(digest=OLD, uri=folder["folder"], bytes=1 << 30)
    world = Observed(
        Source(NEW, folder["folder"], bytes=5 << 30),
        requests=(request("busy", "Running", server_uid="u0"),),
        servers=(pod(0),),
        served=(replace(served(OLD, 1), scratch="33792Mi"),),
    )
    decided = plan(model(before, folder, maxReplicas=3, minReplicas=1), world, SETTINGS, NOW)
    limits = {
        a.manifest["metadata"]["labels"][names.LABEL_DIGEST]: volume["emptyDir"]["sizeLimit"]
        for a in decided.apply
        if a.manifest["kind"] == "Deployment"
        for volume in a.manifest["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == SCRATCH_VOLUME
    }
    assert limits == {names.short_digest(OLD): "33792Mi", names.short_digest(NEW): f"{37 << 10}Mi"}
    assert status_of(decided).former is None

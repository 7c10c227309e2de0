"""The rendezvous pod beside trainers that run: with their image when made anew, and told of a new least size."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from kinema_api import names
from kinema_api.wire import TrainerProgress
from kinema_operator.core.plan import Plan
from kinema_operator.training.observed import Observed, PodSeen
from kinema_operator.training.plan import decide
from kinema_operator.training.read import read_job, read_pod
from unit.operator.training.facts import STARTING, TRAINING, at_work, trainer

WORKS = TrainerProgress(run=1, attempt=1, round=3, rank=0, world_size=2, step=7, total_steps=800)


def manifest(plan: Plan, kind: str) -> dict[str, Any]:
    (found,) = (apply.manifest for apply in plan.apply if apply.manifest["kind"] == kind)
    return json.loads(json.dumps(found))


def begun(make_view: Any, now: datetime, **spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Job and rendezvous pod as an operator has made them."""
    plan = decide(make_view(STARTING, Observed(credentials_expire=now + timedelta(hours=1)), **spec))
    job, pod = manifest(plan, "Job"), manifest(plan, "Pod")
    job["metadata"] |= {"uid": "job-1", "resourceVersion": "77"}
    pod["metadata"] |= {"uid": "store-1", "resourceVersion": "78"}
    pod["status"] = {"phase": "Running"}
    return job, pod


def pods(now: datetime, store: dict[str, Any]) -> tuple[PodSeen, ...]:
    return (read_pod(store), trainer("a", now), trainer("b", now))


def test_a_rendezvous_made_anew_by_a_newer_operator_runs_the_image_of_its_trainers(
    make_view: Any, now: datetime
) -> None:
    view = make_view(STARTING, Observed(credentials_expire=now + timedelta(hours=1)))
    job, old = begun(make_view, now)
    job["spec"]["template"]["spec"]["containers"][0]["image"] = "worker:as-the-attempt-began"
    lost = read_pod(old | {"metadata": old["metadata"] | {"deletionTimestamp": "2026-03-01T11:00:00Z"}})
    seen = at_work(now, jobs=(read_job(job),), pods=(lost, trainer("a", now)))
    anew = manifest(decide(make_view(TRAINING, seen)), "Pod")
    assert [c["image"] for c in anew["spec"]["containers"]] == ["worker:as-the-attempt-began"]
    assert view.settings.worker_image != "worker:as-the-attempt-began"
    (before,), (after,) = old["spec"]["containers"], anew["spec"]["containers"]
    assert after["args"] == before["args"], "arguments are those that the older image knows"


def test_a_changed_least_size_takes_no_worker_down(make_view: Any, now: datetime) -> None:
    job, store = begun(make_view, now)
    seen = at_work(now, jobs=(read_job(job),), pods=pods(now, store), progress=WORKS)
    plan = decide(make_view(TRAINING, seen, elastic={"minNodes": 2, "maxNodes": 3}))
    assert plan.delete == (), "the rendezvous goes on: without it every worker stops"
    (patch,) = plan.patches
    assert (patch.ref.kind, patch.ref.uid, patch.resource_version) == ("Pod", "store-1", "78")
    assert patch.body == {"metadata": {"annotations": {f"{names.GROUP}/min-nodes": "2"}}}
    store["metadata"]["annotations"] |= patch.body["metadata"]["annotations"]
    told = at_work(now, jobs=(read_job(job),), pods=pods(now, store), progress=WORKS)
    assert decide(make_view(TRAINING, told, elastic={"minNodes": 2, "maxNodes": 3})).patches == ()


def test_the_pod_reads_its_least_size_from_its_own_annotation(make_view: Any, now: datetime) -> None:
    _, store = begun(make_view, now)
    (volume,) = (v for v in store["spec"]["volumes"] if "downwardAPI" in v)
    paths = {item["path"]: item["fieldRef"]["fieldPath"] for item in volume["downwardAPI"]["items"]}
    assert paths[names.POD_INFO_MIN_NODES] == f"metadata.annotations['{names.GROUP}/min-nodes']"
    mounts = {m["name"]: m["mountPath"] for m in store["spec"]["containers"][0]["volumeMounts"]}
    assert mounts[volume["name"]] == names.POD_INFO_DIR


def test_a_rendezvous_of_an_older_version_is_replaced_only_while_no_group_works(make_view: Any, now: datetime) -> None:
    job, store = begun(make_view, now)
    store["metadata"]["annotations"] = {f"{names.GROUP}/min-nodes": "1"}
    wanted = {"elastic": {"minNodes": 2, "maxNodes": 3}}
    busy = at_work(now, jobs=(read_job(job),), pods=pods(now, store), progress=WORKS)
    assert decide(make_view(TRAINING, busy, **wanted)).delete == ()
    idle = at_work(now, jobs=(read_job(job),), pods=pods(now, store))
    assert [ref.uid for ref in decide(make_view(TRAINING, idle, **wanted)).delete] == ["store-1"]


def test_a_pod_made_later_has_the_higher_generation_even_by_a_slow_clock(make_view: Any, now: datetime) -> None:
    job, old = begun(make_view, now)
    mark = f"{names.GROUP}/rendezvous-generation"
    ahead = int(now.timestamp()) + 500
    old["metadata"]["annotations"][mark] = str(ahead)
    old["metadata"]["deletionTimestamp"] = "2026-03-01T11:00:00Z"
    seen = at_work(now, jobs=(read_job(job),), pods=pods(now, old))
    assert manifest(decide(make_view(TRAINING, seen)), "Pod")["metadata"]["annotations"][mark] == str(ahead + 1)

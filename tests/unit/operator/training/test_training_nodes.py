"""When a pod on a lost node is given up, and what is done then."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from kinema_api import names
from kinema_api.wire import TrainerProgress
from kinema_operator.core.plan import Plan
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training import nodes
from kinema_operator.training.observed import PodSeen
from kinema_operator.training.plan import decide
from kinema_operator.training.read import FAILURE_COUNTS
from unit.operator.training.facts import STORE, TRAINING, at_work, condition, trainer


def node(ready: str = "True", *taints: str) -> dict[str, Any]:
    status = {"conditions": [{"type": "Ready", "status": ready}], "images": [{"sizeBytes": 1}]}
    metadata = {"name": "n", "uid": "n", "resourceVersion": "1"}
    return {"kind": "Node", "metadata": metadata, "spec": {"taints": [{"key": t} for t in taints]}, "status": status}


@pytest.mark.parametrize(
    ("found", "trouble"),
    [
        (None, "deleted"),
        (node(), None),
        (node("Unknown"), "unreachable"),
        (node("False"), "not ready"),
        (node("True", "node.kubernetes.io/unreachable"), "unreachable"),
        (node("False", "node.kubernetes.io/out-of-service"), "unreachable"),
        (node("True", "nvidia.com/gpu"), None),
    ],
)
def test_what_is_wrong_with_a_node(found: Any, trouble: Any) -> None:
    assert nodes.trouble_of(found) == trouble


def test_of_nodes_that_may_not_be_watched_nothing_is_concluded() -> None:
    cache = ObjectCache(lambda _: None)
    cache.watch_kind("Node", {})
    pod = PodSeen("a", "a", names.COMPONENT_TRAINER, 1, 1, node="n")
    assert nodes.with_node(pod, cache).trouble is None, "not listed yet"
    cache.replace("Node", [node()], 1)
    assert nodes.with_node(pod, cache).trouble is None
    assert "images" not in (cache.get("Node", "", "n") or {})["status"]
    cache.replace("Node", [], 2)
    assert nodes.with_node(pod, cache).trouble == "deleted"
    cache.refuse("Node")
    assert nodes.with_node(pod, cache).trouble is None


SOON, PAST = timedelta(seconds=20), timedelta(seconds=-1)


@pytest.mark.parametrize(
    ("trouble", "silent", "deleted", "status", "lost"),
    [
        (None, None, PAST, TRAINING, False),
        ("unreachable", True, None, TRAINING, True),
        ("unreachable", True, SOON, TRAINING, True),
        ("unreachable", False, None, TRAINING, False),
        ("unreachable", False, PAST, TRAINING, False),
        ("deleted", True, None, TRAINING, True),
        ("not ready", True, None, TRAINING, False),
        ("not ready", True, SOON, TRAINING, False),
        ("not ready", True, PAST, TRAINING, True),
        ("unreachable", None, None, TRAINING, False),
        ("unreachable", None, SOON, TRAINING, False),
        ("unreachable", None, PAST, TRAINING, True),
        ("unreachable", False, PAST, {**TRAINING, "phase": "Suspended"}, True),
        ("unreachable", False, PAST, {**TRAINING, "attempt": 2}, True),
    ],
)
def test_a_pod_is_given_up_when_its_node_is_gone_and_it_does_not_answer(
    trouble: Any, silent: Any, deleted: timedelta | None, status: Any, lost: bool, make_view: Any, now: datetime
) -> None:
    pod = trainer("b", now, node="n", trouble=trouble, silent=silent, deletion_time=now + deleted if deleted else None)
    view = make_view(status, at_work(now, pods=(STORE, trainer("a", now), pod)))
    assert nodes.is_lost(view, pod) is lost
    plan = decide(view)
    failed = [p for p in plan.patches if p.subresource == "status"]
    assert [p.ref.uid for p in failed] == (["b"] if lost else [])
    if lost:
        body = failed[0].body["status"]
        assert body["phase"] == "Failed"
        assert [(c["type"], c["status"]) for c in body["conditions"]] == [("DisruptionTarget", "True")]
        assert any(ref.uid == "b" for ref in plan.delete) or deleted


def test_a_rendezvous_is_given_up_only_when_no_group_steps(make_view: Any, now: datetime) -> None:
    store = dataclasses.replace(STORE, node="n", trouble="unreachable")
    seen = at_work(now, pods=(store, trainer("a", now)))
    at_it = TrainerProgress(run=1, attempt=1, rank=0, world_size=1, round=1)
    slow = at_it.model_copy(update={"step_seconds": 40.0})
    for progress, quiet, lost in (
        (at_it, 1.0, False),
        (at_it, 19.0, False),
        (at_it, 21.0, True),
        (slow, 100.0, False),
        (at_it.model_copy(update={"world_size": 0}), 1.0, True),
        (None, 1.0, True),
    ):
        view = make_view(TRAINING, nodes.with_silence(seen, progress, (), quiet))
        assert any(ref.uid == store.uid for ref in decide(view).delete) is lost
    dead = dataclasses.replace(store, phase="Failed", deletion_time=now + SOON)
    made = decide(make_view(TRAINING, at_work(now, pods=(dead, trainer("a", now))))).apply
    assert [a.manifest["metadata"]["name"] for a in made if a.manifest["kind"] == "Pod"] == [f"{STORE.name}-2"]


def test_a_rendezvous_that_no_trainer_hears_is_made_anew_elsewhere_before_its_node_is_missed(
    make_view: Any, now: datetime
) -> None:
    long_ago = now - timedelta(minutes=5)
    for started, cut_off, lost in (
        (long_ago, 0.0, False),
        (long_ago, 6.9, False),
        (long_ago, 7.0, True),
        (now - timedelta(seconds=29), 60.0, False),
        (None, 60.0, False),
    ):
        store = dataclasses.replace(STORE, node="n", started=started)
        plan = decide(make_view(TRAINING, at_work(now, pods=(store, trainer("a", now)), cut_off_seconds=cut_off)))
        assert [ref.uid for ref in plan.delete] == ([store.uid] if lost else [])
        pods = [a.manifest for a in plan.apply if a.manifest["kind"] == "Pod"]
        assert [pod["metadata"]["name"] for pod in pods] == ([f"{STORE.name}-2"] if lost else [])
        assert plan.requeue_after == (5.0 if cut_off == 0 else 1.0)
        if lost:
            (term,) = pods[0]["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
            away = {"key": "metadata.name", "operator": "NotIn", "values": ["n"]}
            assert term["preference"] == {"matchFields": [away]}, "Kubernetes does not know yet that the node is gone"
            assert pods[0]["metadata"]["annotations"]["kinema.dev/leases-over"] == "1"
            assert [event.reason for event in plan.events] == ["RendezvousLost"]


def test_a_rendezvous_with_a_longer_lease_is_waited_for_until_that_is_over(make_view: Any, now: datetime) -> None:
    store = dataclasses.replace(STORE, node="n", started=now - timedelta(minutes=5))
    for cut_off, lost in ((10.0, False), (29.9, False), (30.0, True)):
        seen = at_work(now, pods=(store, trainer("a", now)), cut_off_seconds=cut_off, lease_seconds=30.0)
        plan = decide(make_view(TRAINING, seen))
        assert [ref.uid for ref in plan.delete] == ([store.uid] if lost else [])
        assert [event.reason for event in plan.events] == (["RendezvousLost"] if lost else [])
        assert _leases_over(plan) == (["1"] if lost else [])
        plan = decide(make_view(TRAINING, dataclasses.replace(seen, pods=(trainer("a", now),))))
        assert _leases_over(plan) == ["1" if lost else "0"], "one that is gone has a successor at once, which waits"


def test_a_shorter_lease_replaces_no_rendezvous_sooner(make_view: Any, now: datetime) -> None:
    store = dataclasses.replace(STORE, node="n", started=now - timedelta(minutes=5))
    seen = at_work(now, pods=(store, trainer("a", now)), cut_off_seconds=5.0, lease_seconds=1.4)
    assert decide(make_view(TRAINING, seen)).delete == ()


def _leases_over(plan: Plan) -> list[str]:
    """What new rendezvous pods are told."""
    pods = [a.manifest for a in plan.apply if a.manifest["kind"] == "Pod"]
    return [pod["metadata"]["annotations"]["kinema.dev/leases-over"] for pod in pods]


def test_a_rendezvous_made_anew_gets_time_to_be_found(make_view: Any, now: datetime) -> None:
    old = dataclasses.replace(STORE, node="n", started=now - timedelta(minutes=5), deletion_time=now + SOON)
    new = dataclasses.replace(STORE, name=f"{STORE.name}-2", uid="store-2", node="m", started=now)
    plan = decide(make_view(TRAINING, at_work(now, pods=(old, new, trainer("a", now)), cut_off_seconds=20.0)))
    assert plan.delete == ()
    assert not [a for a in plan.apply if a.manifest["kind"] == "Pod"]


def test_an_evaluator_waits_out_a_short_absence_of_its_node(make_view: Any, now: datetime) -> None:
    for seconds, lost in ((29, False), (30, True)):
        since = now - timedelta(seconds=seconds)
        pod = dataclasses.replace(
            trainer("e", now, node="n", trouble="unreachable", trouble_since=since),
            component=names.COMPONENT_EVALUATOR,
        )
        view = make_view({**TRAINING, "phase": "Evaluating"}, at_work(now, pods=(pod,)))
        assert nodes.is_lost(view, pod) is lost
        assert decide(view).requeue_after is not None


def test_earlier_failures_are_forgotten_after_a_healthy_time(make_view: Any, now: datetime) -> None:
    def forgotten(progress: TrainerProgress | None, **fields: Any) -> list[Any]:
        pod = trainer("a", now, **fields)
        plan = decide(make_view(TRAINING, at_work(now, pods=(STORE, pod), progress=progress)))
        return [p.body["metadata"]["annotations"] for p in plan.patches if "metadata" in p.body]

    at_it = TrainerProgress(run=1, attempt=1, rank=0, world_size=2, round=1)
    assert forgotten(at_it, earlier_failures=3) == [dict.fromkeys(FAILURE_COUNTS, "0")]
    assert forgotten(at_it) == []
    assert forgotten(None, earlier_failures=3) == [], "nobody steps"
    assert forgotten(at_it, earlier_failures=3, started=now - timedelta(seconds=5)) == [], "too young to be called well"


def test_an_install_without_rights_on_nodes_says_what_an_administrator_must_do(make_view: Any, now: datetime) -> None:
    assert condition(decide(make_view(TRAINING, at_work(now))), "NodesWatched") == ("", "")
    plan = decide(make_view(TRAINING, at_work(now, nodes_watched=False)))
    assert condition(plan, "NodesWatched") == ("False", "Forbidden")
    before = plan.status.to_wire()  # type: ignore[union-attr]
    assert condition(decide(make_view(before, at_work(now))), "NodesWatched") == ("True", "Watched")

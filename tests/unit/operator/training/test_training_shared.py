"""What the trainings of a namespace share, and what of an older version stays for as long as something lives on it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_api import names
from kinema_operator.core.plan import Ref
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training import children, shared
from kinema_operator.training.objects import network_policy, service
from kinema_operator.training.objects.job import job
from kinema_operator.training.objects.rendezvous_pod import Making, store_pod
from kinema_operator.training.observed import JobSeen, Observed, PodEnd
from kinema_operator.training.plan import decide
from kinema_operator.training.read import read_job
from kinema_operator.training.view import View
from unit.operator.training.facts import JOB, STARTING, STORE, TRAINING, at_work, made, trainer

OLD_SERVICE = Ref("v1", "Service", "team", "tiny-world-pods", "s-1")
OLD_POLICY = Ref("networking.k8s.io/v1", "NetworkPolicy", "team", "tiny-world-training", "p-1")
OLDER = (OLD_SERVICE, OLD_POLICY)
OLD_JOB = JobSeen(JOB.name, JOB.uid, "77", 1, 1, parallelism=2, subdomain="tiny-world-pods")


def changed(seen: Any, **fields: Any) -> Any:
    return type(seen)(**{**vars(seen), **fields})


def manifest_of(plan: Any, kind: str, name: str) -> Any:
    return next(a.manifest for a in plan.apply if (a.manifest["kind"], a.manifest["metadata"]["name"]) == (kind, name))


def rendezvous_of(trainers: Any) -> str:
    (container,) = trainers["spec"]["template"]["spec"]["containers"]
    return str({e["name"]: e.get("value") for e in container["env"]}["KINEMA_RENDEZVOUS"])


# One of each for all trainings


def test_two_trainings_of_a_namespace_share_service_and_policy(make_view: Any, now: datetime) -> None:
    seen = at_work(now, jobs=(), pods=())
    plans = [decide(make_view(STARTING, seen)), decide(make_view(STARTING, seen, data={"world": {"seed": 8}}))]
    once = [{what for what in made(plan) if what[0] in ("Service", "NetworkPolicy")} for plan in plans]
    assert once[0] == once[1] == {("Service", "kinema-rendezvous"), ("NetworkPolicy", "kinema-trainings")}
    for plan in plans:
        for kind, name in once[0]:
            assert "ownerReferences" not in manifest_of(plan, kind, name)["metadata"], "it outlives each of them"


def test_the_policy_opens_the_stores_of_all_trainings_and_no_store_that_is_not_allowed(
    make_training: Any, settings: Settings, now: datetime
) -> None:
    allowed = settings.model_copy(update={"allowed_stores": ("https://s3.example.org", "http://10.1.2.3:9000")})
    stores = ("", "http://10.1.2.3:9000", "http://10.9.9.9:9000", "https://kubernetes.default.svc", "no address")
    plan = decide(View(make_training(STARTING), at_work(now, stores_named=stores), allowed, now))
    egress = manifest_of(plan, "NetworkPolicy", "kinema-trainings")["spec"]["egress"]
    opened = [rule["to"] for rule in egress[2:]]
    assert opened == [
        [{"ipBlock": {"cidr": "10.1.2.3/32"}}],
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kinema-system"}}}],
    ]


def test_every_training_of_a_namespace_asks_for_the_same_policy(settings: Settings) -> None:
    stores = ("http://10.1.2.3:9000", "http://10.1.2.4:9000")
    allowing = settings.model_copy(update={"allowed_stores": stores})
    first = network_policy.network_policy("team", stores, allowing)
    assert len(first["spec"]["egress"]) == 4
    assert first == network_policy.network_policy("team", reversed(stores), allowing)


def test_a_store_is_found_by_the_name_that_trainers_are_told(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(STARTING, at_work(now, jobs=(), pods=())))
    store = manifest_of(plan, "Pod", "tiny-world-r1-a1-store")
    front = manifest_of(plan, "Service", store["spec"]["subdomain"])
    assert front["spec"]["selector"].items() <= store["metadata"]["labels"].items()
    told = rendezvous_of(manifest_of(plan, "Job", "tiny-world-r1-a1"))
    assert told == f"{store['spec']['hostname']}.{front['metadata']['name']}:{names.RENDEZVOUS_PORT}"


# Who names which store


def named(name: str, endpoint: Any, namespace: str = "team", version: int = 1) -> dict[str, Any]:
    spec = {} if endpoint is None else {"artifactStore": {"endpoint": endpoint} if endpoint else "broken"}
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "resourceVersion": str(version)}
    return {"kind": "VideoModelTraining", "metadata": metadata, "spec": spec}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "remove"]),
            st.sampled_from("abc"),
            st.sampled_from(["x", "y"]),
            st.sampled_from([None, "", "http://one", "http://two"]),
        )
    )
)
def test_the_stores_that_are_named_are_those_of_the_trainings_there_are(steps: list[Any]) -> None:
    kept, there = shared.StoresNamed(), {}
    for step, name, namespace, endpoint in steps:
        obj = named(name, endpoint, namespace)
        if step == "put":
            kept.put(obj)
            there[(namespace, name)] = endpoint or ""
        else:
            kept.remove(obj)
            there.pop((namespace, name), None)
    for namespace in ("x", "y"):
        assert kept.of(namespace) == tuple(sorted({e for at, e in there.items() if at[0] == namespace}))


# With the last one they go


def cache_of(*objects: dict[str, Any]) -> ObjectCache:
    cache = ObjectCache(lambda _: None)
    for kind in ("VideoModelTraining", "Job", "Pod", "Service", "NetworkPolicy"):
        cache.watch_kind(kind, {})
        cache.replace(kind, [obj for obj in objects if obj["kind"] == kind], 10)
    return cache


def shared_objects() -> list[dict[str, Any]]:
    objects = [service.rendezvous_service("team"), network_policy.network_policy("team", [], Settings())]
    return [
        {**obj, "metadata": {**obj["metadata"], "uid": str(number), "resourceVersion": "1"}}
        for number, obj in enumerate(objects)
    ]


def leftover(kind: str) -> dict[str, Any]:
    labels = {names.LABEL_TRAINING: "tiny-world"}
    metadata = {"name": "x", "namespace": "team", "uid": kind, "resourceVersion": "1", "labels": labels}
    return {"kind": kind, "metadata": metadata, "spec": {}}


def test_what_is_shared_goes_when_nothing_of_any_training_is_left() -> None:
    assert [ref.name for ref in shared.needless(cache_of(*shared_objects()), "team")] == [
        "kinema-rendezvous",
        "kinema-trainings",
    ]
    assert shared.needless(cache_of(), "team") == ()
    elsewhere = named("other", None, "elsewhere")
    assert len(shared.needless(cache_of(*shared_objects(), elsewhere), "team")) == 2


@pytest.mark.parametrize("left", [named("tiny-world", None), leftover("Pod"), leftover("Job")])
def test_what_is_shared_stays_while_a_training_or_a_pod_of_one_is_left(left: dict[str, Any]) -> None:
    assert shared.needless(cache_of(*shared_objects(), left), "team") == ()


# An attempt that an older version began


def test_an_attempt_of_an_older_version_keeps_its_service_until_it_is_over(make_view: Any, now: datetime) -> None:
    old_store = changed(STORE, subdomain="tiny-world-pods")
    old_trainer = trainer("a", now, subdomain="tiny-world-pods")
    seen = at_work(now, jobs=(OLD_JOB,), pods=(old_store, old_trainer, trainer("b", now)), older=OLDER)
    plan = decide(make_view(TRAINING, seen))
    assert not set(OLDER) & set(plan.delete)
    assert ("Service", "tiny-world-pods") in made(plan)
    # Its pods may outlive their Job, and commit until they have ended.
    plan = decide(make_view(TRAINING, at_work(now, jobs=(), pods=(old_trainer,), older=OLDER)))
    assert not set(OLDER) & set(plan.delete)


def test_a_store_that_is_made_anew_is_found_where_an_older_versions_trainers_look(
    make_view: Any, now: datetime
) -> None:
    seen = at_work(now, jobs=(OLD_JOB,), pods=(trainer("a", now), trainer("b", now)), older=OLDER)
    plan = decide(make_view(TRAINING, seen))
    assert manifest_of(plan, "Pod", "tiny-world-r1-a1-store")["spec"]["subdomain"] == "tiny-world-pods"


def test_a_job_that_is_made_beside_an_older_versions_store_looks_for_it_where_it_is(
    make_view: Any, now: datetime
) -> None:
    seen = at_work(now, jobs=(), pods=(changed(STORE, subdomain="tiny-world-pods"),), older=OLDER)
    plan = decide(make_view(STARTING, seen))
    told = rendezvous_of(manifest_of(plan, "Job", "tiny-world-r1-a1"))
    assert told.startswith("tiny-world-r1-a1-store.tiny-world-pods:")


@pytest.mark.parametrize("phase", ["Suspended", "Succeeded", "Failed"])
def test_what_an_older_version_made_goes_when_nothing_lives_on_it(make_view: Any, phase: str, now: datetime) -> None:
    ended = trainer("a", now, PodEnd(exit_code=0, finished=now), subdomain="tiny-world-pods")
    finished = changed(OLD_JOB, finished="Complete")
    seen = Observed(jobs=(finished,), pods=(ended,), older=OLDER)
    plan = decide(make_view({"run": 1, "attempt": 1, "phase": phase}, seen, suspend=phase == "Suspended"))
    assert set(OLDER) <= set(plan.delete)


def test_an_attempt_of_this_version_lets_an_older_versions_objects_go(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(TRAINING, at_work(now, older=OLDER)))
    assert set(OLDER) <= set(plan.delete)
    assert ("Service", "tiny-world-pods") not in made(plan)


# What the cache keeps of a Job


def test_a_job_from_the_cache_tells_its_pods_image_and_service(make_training: Any, settings: Settings) -> None:
    training = make_training({"run": 1, "attempt": 1})
    config, app = children.describe_attempt(training, store_location(None, settings), settings)
    live = job(training, app, config, 2, settings)
    live["metadata"] |= {"uid": "j", "resourceVersion": "1"}
    live["spec"]["template"]["spec"]["subdomain"] = "tiny-world-pods"
    cache = cache_of(live)
    seen = read_job(cache.get("Job", "team", "tiny-world-r1-a1") or {})
    assert (seen.image, seen.subdomain) == (settings.worker_image, "tiny-world-pods")
    again = store_pod(training, app, config, settings, Making(image=seen.image, service=seen.subdomain))
    assert again["spec"]["containers"][0]["image"] == settings.worker_image

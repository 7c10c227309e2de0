"""The phase Preparing: a Job makes datasets of recorded clips before the first attempt, and only its result counts."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest

from kinema_api import launch
from kinema_api.base import find_condition
from kinema_api.dataset_status import dataset_status
from kinema_api.errors import InvalidManifest
from kinema_api.prepare import MAX_RESULT_BYTES, PrepareProgress
from kinema_api.training import VideoModelTraining
from kinema_api.training_status import DatasetStatus
from kinema_api.wire import TerminationMessage
from kinema_operator.core.plan import Plan, Ref
from kinema_operator.core.settings import Settings
from kinema_operator.training import scope
from kinema_operator.training.effects import IssueCredentials
from kinema_operator.training.observed import JobSeen, Observed, PodEnd, PodSeen, PreparedSeen, ResumePoint
from kinema_operator.training.plan import decide
from kinema_operator.training.view import View
from unit.operator.training.conftest import NOW, MakeTraining, MakeView

URI = "s3://kinema/inputs/team/clips/"
VIDEOS: dict[str, Any] = {"videos": [{"uri": URI}]}
PREPARING: dict[str, Any] = {"phase": "Preparing", "run": 1}
DIGEST = "sha256:" + "d" * 64
MADE: dict[str, Any] = {
    "uri": URI,
    "prefix": "datasets/team/" + "a" * 64 + "/" + "b" * 16 + "/",
    "digest": DIGEST,
    "samples": 1234,
    "inputs": 56,
    "seconds": 5000.25,
    "bytes": 10**9,
    "dropped": {"too dark": 7, "no caption": 3},
}
RESULT: dict[str, Any] = {"datasets": [MADE], "report": "trainings/team/tiny-world/7a1f/run-001/prepared.html"}
KEYS = Observed(credentials_expire=NOW + timedelta(hours=1), prepared=PreparedSeen(1, 0))


def job(**fields: Any) -> JobSeen:
    return JobSeen("tiny-world-r1-prepare", "j", "7", 1, 0, fields.pop("parallelism", 2), "preparer", **fields)


def pod(name: str = "p0", end: PodEnd | None = None, **fields: Any) -> PodSeen:
    phase = "Running" if end is None else "Failed"
    return PodSeen(name, name, "preparer", 1, 0, phase, started=NOW, end=end, **fields)


def ended(failure_class: str, message: str = "why") -> PodEnd:
    word = TerminationMessage.model_validate({"failureClass": failure_class, "message": message})
    return PodEnd(exit_code=1, word=word, finished=NOW)


def made(training: VideoModelTraining, result: dict[str, Any] | bytes = RESULT) -> DatasetStatus:
    data = result if isinstance(result, bytes) else json.dumps(result).encode()
    return dataset_status(launch.prepare_config(training, 1), data, "s3://kinema/report")


def says(plan: Plan, type_: str) -> tuple[str, str, str]:
    assert plan.status is not None
    found = find_condition(plan.status.conditions, type_)
    assert found is not None, type_
    return found.status, found.reason, found.message


def kinds(plan: Plan) -> list[str]:
    return [apply.manifest["kind"] for apply in plan.apply]


# Into the phase


def test_a_run_with_videos_prepares_them_before_its_first_attempt(make_view: MakeView) -> None:
    view = make_view(None, Observed(resume=ResumePoint(1, 0, None)), data=VIDEOS)
    plan = decide(view)
    assert (plan.status.phase, plan.status.attempt, plan.status.run) == ("Preparing", 0, 1)
    assert says(plan, "Prepared")[:2] == ("Unknown", "Preparing")
    assert plan.apply == ()
    after = decide(make_view(PREPARING, KEYS, data=VIDEOS))
    assert kinds(after) == ["NetworkPolicy", "Job"]


def test_without_videos_nothing_is_prepared(make_view: MakeView) -> None:
    plan = decide(make_view(None, Observed(resume=ResumePoint(1, 0, None))))
    assert (plan.status.phase, plan.status.attempt) == ("Pending", 1)
    assert find_condition(plan.status.conditions, "Prepared") is None


def test_a_run_whose_clips_are_prepared_begins_its_attempt_with_them(make_view: MakeView) -> None:
    view = make_view(PREPARING, KEYS, data=VIDEOS)
    seen = dataclasses.replace(KEYS, prepared=PreparedSeen(1, 0, made(view.training)), jobs=(job(),), pods=(pod(),))
    plan = decide(make_view(PREPARING, seen, data=VIDEOS))
    assert plan.status.phase == "Pending"
    assert plan.status.dataset is not None
    assert (plan.status.dataset.digest, plan.status.dataset.samples) == (DIGEST, 1234)
    assert [ref.name for ref in plan.delete] == ["tiny-world-r1-prepare"]
    status, reason, message = says(plan, "Prepared")
    assert (status, reason) == ("True", "Prepared")
    assert "1,234 clips of 56 files, 83 min in all; 10 were left out (too dark 7, no caption 3)" in message
    assert [event.reason for event in plan.events] == ["Prepared"]
    then = decide(make_view(plan.status.to_wire(), Observed(resume=ResumePoint(1, 0, None)), data=VIDEOS))
    assert (then.status.phase, then.status.attempt) == ("Pending", 1)
    training = view.training.model_copy(update={"status": then.status})
    (dataset,) = launch.run_config(training, 1, 1, None).datasets
    assert (dataset.prefix, dataset.digest, dataset.weight) == (MADE["prefix"], DIGEST, 1)


def test_datasets_that_were_there_are_told(make_view: MakeView) -> None:
    view = make_view(PREPARING, KEYS, data=VIDEOS)
    again = made(view.training, {**RESULT, "datasets": [{**MADE, "reused": True, "dropped": {}}]})
    plan = decide(make_view(PREPARING, dataclasses.replace(KEYS, prepared=PreparedSeen(1, 0, again)), data=VIDEOS))
    assert says(plan, "Prepared")[1] == "Reused"
    assert "1 of 1 datasets were there already" in says(plan, "Prepared")[2]


# What may not be prepared


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("s3://kinema/inputs/others/clips/", "inputs/team/ or shared/"),
        ("s3://kinema/models/", "inputs/team/ or shared/"),
        ("s3://elsewhere/inputs/team/clips/", "not in the bucket 'kinema'"),
    ],
)
def test_folders_of_others_are_not_read(make_view: MakeView, uri: str, why: str) -> None:
    seen = Observed(resume=ResumePoint(1, 0, None))
    plan = decide(make_view(None, seen, data={"videos": [{"uri": uri}]}))
    assert plan.status.phase == "Pending"
    assert says(plan, "Running")[:2] == ("False", "FolderNotAllowed")
    assert why in says(plan, "Running")[2]
    assert plan.apply == ()


def test_a_store_of_its_own_has_folders_of_its_own(make_view: MakeView) -> None:
    store = {"endpoint": "http://127.0.0.1:9000", "bucket": "team", "secretRef": {"name": "keys"}}
    seen = Observed(resume=ResumePoint(1, 0, None))
    plan = decide(make_view(None, seen, data={"videos": [{"uri": "s3://team/any/"}]}, artifactStore=store))
    assert plan.status.phase == "Preparing"


def captioned(url: str = "http://captioner.models.svc:8000/v1", **fields: Any) -> dict[str, Any]:
    return {"videos": [{"uri": URI, "captions": {"endpoint": {"url": url, "model": "m", **fields}}}]}


def test_an_endpoint_that_is_not_allowed_is_refused_with_the_value_of_the_chart(make_view: MakeView) -> None:
    plan = decide(make_view(None, Observed(resume=ResumePoint(1, 0, None)), data=captioned()))
    assert says(plan, "Running")[1] == "EndpointNotAllowed"
    assert "allowedCaptionEndpoints" in says(plan, "Running")[2]
    # Nor does a run go on that had begun before the list was changed.
    begun = decide(make_view(PREPARING, dataclasses.replace(KEYS, jobs=(job(),)), data=captioned()))
    assert (begun.apply, [ref.kind for ref in begun.delete]) == ((), ["Job"])


@pytest.mark.parametrize("url", ["http://169.254.169.254/v1", "http://kubernetes.default.svc/", "http://h:99999/v1"])
def test_no_list_allows_metadata_services_the_api_server_or_what_is_no_address(
    make_training: MakeTraining, settings: Settings, url: str
) -> None:
    everything = settings.model_copy(update={"allowed_caption_endpoints": ("http://*:*", "http://169.254.169.254:*")})
    view = View(make_training(None, data=captioned(url)), Observed(resume=ResumePoint(1, 0, None)), everything, NOW)
    assert says(decide(view), "Running")[1] == "EndpointNotAllowed"


def test_only_preparing_pods_reach_the_endpoint_and_have_its_key(
    make_training: MakeTraining, settings: Settings
) -> None:
    allowed = settings.model_copy(update={"allowed_caption_endpoints": ("http://*.models.svc:*",)})
    data = captioned(secretRef={"name": "captioner"})
    training = make_training(PREPARING, data=data)
    plan = decide(View(training, KEYS, allowed, NOW))
    shared, own, made_job = (apply.manifest for apply in plan.apply)
    assert "models" not in json.dumps(shared)
    assert own["metadata"]["name"] == "tiny-world-r1-prepare"
    assert own["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "preparer"
    (rule,) = own["spec"]["egress"]
    assert rule == {
        "ports": [{"protocol": "TCP", "port": 8000}],
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}],
    }
    (container,) = made_job["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert env["KINEMA_CAPTIONER_KEY_FILE"] == "/var/run/kinema/storage/captioner-key"
    secrets = [v["secret"]["secretName"] for v in made_job["spec"]["template"]["spec"]["volumes"] if "secret" in v]
    assert secrets == ["tiny-world.preparation-storage"]
    # The policy goes with the phase.
    policy = Ref("networking.k8s.io/v1", "NetworkPolicy", "team", "tiny-world-r1-prepare", "n")
    done = {"phase": "Training", "run": 1, "attempt": 1, "dataset": made(training).to_wire()}
    after = decide(View(make_training(done, data=data), Observed(preparation_policies=(policy,)), allowed, NOW))
    assert policy in after.delete


# Work


def test_the_job_is_as_large_as_the_run_and_follows_its_size(make_view: MakeView) -> None:
    first = decide(make_view(PREPARING, KEYS, data=VIDEOS)).apply[1].manifest
    assert first["metadata"]["name"] == "tiny-world-r1-prepare"
    assert (first["spec"]["completionMode"], first["spec"]["parallelism"], first["spec"]["completions"]) == (
        "Indexed",
        2,
        2,
    )
    seen = dataclasses.replace(KEYS, jobs=(job(),), pods=(pod(),))
    plan = decide(make_view(PREPARING, seen, data=VIDEOS, nodes=3))
    (patch,) = plan.patches
    assert patch.body == {"spec": {"parallelism": 3, "completions": 3}}
    assert kinds(plan) == ["NetworkPolicy"]
    assert plan.status.nodes.ready == 1


def test_preparing_takes_the_trainers_pods_without_their_gpus(make_view: MakeView) -> None:
    worker = {
        "podTemplate": {
            "resources": {"limits": {"nvidia.com/gpu": 8, "memory": "64Gi"}},
            "serviceAccountName": "trainers",
            "labels": {"team": "a"},
        }
    }
    spec = decide_job(make_view, worker)["spec"]["template"]
    (container,) = spec["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "100m"}, "limits": {"memory": "64Gi"}}
    assert spec["spec"]["serviceAccountName"] == "trainers"
    assert spec["spec"]["automountServiceAccountToken"] is False
    assert spec["metadata"]["labels"]["team"] == "a"
    assert container["name"] == "preparer"
    assert container["args"][:3] == ["-m", "kinema_jobs.prepare", "--config"]


def decide_job(make_view: MakeView, worker: dict[str, Any]) -> dict[str, Any]:
    base = make_view(PREPARING, KEYS, data=VIDEOS, worker=worker)
    settings = base.settings.model_copy(update={"allowed_service_accounts": ("trainers",)})
    found: dict[str, Any] = decide(View(base.training, base.seen, settings, NOW)).apply[1].manifest
    return found


def test_pods_wait_for_keys_of_their_own(make_view: MakeView) -> None:
    plan = decide(make_view(PREPARING, Observed(prepared=PreparedSeen(1, 0)), data=VIDEOS))
    assert (plan.apply, plan.effects) == ((), (IssueCredentials(prepares=True),))


def test_how_far_it_is_stands_in_the_condition(make_view: MakeView) -> None:
    told = PrepareProgress(stage="preparing", uri=URI, done=1200, total=3400)
    seen = dataclasses.replace(KEYS, jobs=(job(),), pods=(pod(), pod("p1")), prepared=PreparedSeen(1, 0, progress=told))
    plan = decide(make_view(PREPARING, seen, data=VIDEOS))
    assert says(plan, "Prepared")[2] == (f"2 of 2 pods prepare recorded clips: 1,200 of 3,400 files and parts of {URI}")
    assert plan.words_may_wait


def test_why_a_pod_waits_is_told(make_view: MakeView) -> None:
    waiting = PodSeen("p0", "p0", "preparer", 1, 0, waiting="0/3 nodes are available: 3 Insufficient memory")
    plan = decide(make_view(PREPARING, dataclasses.replace(KEYS, jobs=(job(),), pods=(waiting,)), data=VIDEOS))
    assert "a pod is waiting: 0/3 nodes are available" in says(plan, "Running")[2]


# Failures


def test_the_result_counts_whatever_the_job_says(make_view: MakeView) -> None:
    view = make_view(PREPARING, KEYS, data=VIDEOS)
    failed = dataclasses.replace(
        KEYS,
        jobs=(job(finished="Failed", message="index 0 failed"),),
        pods=(pod(end=ended("user_error")),),
        prepared=PreparedSeen(1, 0, made(view.training)),
    )
    assert decide(make_view(PREPARING, failed, data=VIDEOS)).status.dataset is not None


def test_a_user_s_error_ends_the_run_with_its_sentence(make_view: MakeView) -> None:
    seen = dataclasses.replace(KEYS, jobs=(job(),), pods=(pod(end=ended("user_error", "no clip is left: see X")),))
    plan = decide(make_view(PREPARING, seen, data=VIDEOS))
    assert plan.status.phase == "Failed"
    for type_ in ("Failed", "Prepared"):
        assert says(plan, type_)[1] == "PreparationFailed"
        assert "p0: no clip is left: see X; correct the clips or spec.data and set a new runId" in says(plan, type_)[2]


@pytest.mark.parametrize(
    ("failure_class", "counted", "reason"),
    [
        ("network", "network", "NetworkOrStorage"),
        ("stall", "unknown", "Stalled"),
        ("out_of_memory",) * 2 + ("OutOfMemory",),
    ],
)
def test_what_may_pass_is_tried_again_within_the_budget(
    make_view: MakeView, failure_class: str, counted: str, reason: str
) -> None:
    seen = dataclasses.replace(KEYS, jobs=(job(finished="Failed"),), pods=(pod(end=ended(failure_class)),))
    plan = decide(make_view(PREPARING, seen, data=VIDEOS))
    assert plan.status.phase == "Pending"
    assert plan.status.restarts == {counted: 1}
    assert plan.status.not_before is not None
    assert plan.status.not_before > NOW
    assert says(plan, "Prepared")[:2] == ("False", reason)
    view = make_view(PREPARING | {"restarts": {counted: 10}}, seen, data=VIDEOS)
    assert decide(view).status.phase == "Failed"


def test_a_node_whose_disk_is_full_prepares_no_more(make_view: MakeView) -> None:
    broken = pod(end=ended("hardware", "no space left on device"), node="worker-1")
    plan = decide(make_view(PREPARING, dataclasses.replace(KEYS, jobs=(job(),), pods=(broken,)), data=VIDEOS))
    assert plan.status.excluded_nodes == ("worker-1",)
    assert "node worker-1 is excluded; the operator tries again at once" in says(plan, "Prepared")[2]
    again = decide(make_view(PREPARING | {"excludedNodes": ["worker-1"]}, KEYS, data=VIDEOS)).apply[1].manifest
    assert "worker-1" in json.dumps(again["spec"]["template"]["spec"]["affinity"])


def test_a_preparer_on_a_lost_node_is_replaced_after_a_while(make_view: MakeView) -> None:
    lost = pod(node="worker-1", trouble="unreachable", trouble_since=NOW - timedelta(minutes=10))
    seen = dataclasses.replace(KEYS, jobs=(job(),), pods=(lost,))
    plan = decide(make_view(PREPARING, seen, data=VIDEOS))
    assert [ref.name for ref in plan.delete] == ["p0"]
    assert [event.reason for event in plan.events] == ["NodeLost"]
    early = dataclasses.replace(seen, pods=(dataclasses.replace(lost, trouble_since=NOW),))
    assert decide(make_view(PREPARING, early, data=VIDEOS)).delete == ()


def test_after_the_wait_the_rest_is_prepared(make_view: MakeView) -> None:
    waits = {"phase": "Pending", "run": 1, "notBefore": (NOW + timedelta(seconds=9)).isoformat()}
    assert decide(make_view(waits, data=VIDEOS)).requeue_after == 9
    later = decide(make_view(waits, Observed(resume=ResumePoint(1, 0, None)), NOW + timedelta(seconds=10), data=VIDEOS))
    assert (later.status.phase, later.status.not_before) == ("Preparing", None)


def test_failures_of_preparing_are_none_of_the_attempts(make_view: MakeView) -> None:
    begun = PREPARING | {"restarts": {"out_of_memory": 2}}
    dataset = made(make_view(begun, data=VIDEOS).training)
    plan = decide(make_view(begun, dataclasses.replace(KEYS, prepared=PreparedSeen(1, 0, dataset)), data=VIDEOS))
    assert plan.status.restarts == {}


def test_nothing_is_concluded_while_the_store_is_away(make_view: MakeView) -> None:
    from kinema_operator.training.observed import StorageProblem

    away = dataclasses.replace(
        KEYS,
        prepared=None,
        jobs=(job(finished="Failed"),),
        pods=(pod(end=ended("network")),),
        storage_problem=StorageProblem("StorageUnreachable", "the store is away"),
    )
    plan = decide(make_view(PREPARING, away, data=VIDEOS))
    assert plan.status.phase == "Preparing"
    assert says(plan, "Running")[1] == "StorageUnreachable"
    assert plan.delete == ()


def test_a_result_that_cannot_be_used_ends_the_run(make_view: MakeView) -> None:
    seen = dataclasses.replace(KEYS, prepared=PreparedSeen(1, 0, problem="prepared.json is no result: set a new runId"))
    plan = decide(make_view(PREPARING, seen, data=VIDEOS))
    assert plan.status.phase == "Failed"
    assert "prepared.json is no result" in says(plan, "Prepared")[2]


# Suspension, another run, a restore


def test_a_suspension_stops_the_pods_and_keeps_what_is_done(make_view: MakeView) -> None:
    seen = dataclasses.replace(KEYS, jobs=(job(),), pods=(pod(),))
    stopping = decide(make_view(PREPARING, seen, data=VIDEOS, suspend=True))
    assert [ref.kind for ref in stopping.delete] == ["Job"]
    assert "the pods that prepare clips are stopping, 1 are left" in says(stopping, "Suspended")[2]
    stopped = decide(make_view(PREPARING, Observed(), data=VIDEOS, suspend=True))
    assert stopped.status.phase == "Suspended"
    assert "what is prepared is kept" in says(stopped, "Suspended")[2]
    resumed = decide(make_view(stopped.status.to_wire(), Observed(), data=VIDEOS))
    assert resumed.status.phase == "Pending"
    again = decide(make_view(resumed.status.to_wire(), Observed(resume=ResumePoint(1, 0, None)), data=VIDEOS))
    assert again.status.phase == "Preparing"


def test_a_training_that_is_applied_suspended_prepares_nothing_until_it_is_resumed(make_view: MakeView) -> None:
    held = decide(make_view(None, data=VIDEOS, suspend=True))
    assert held.status.phase == "Suspended"
    resumed = decide(make_view(held.status.to_wire(), data=VIDEOS))
    begun = decide(make_view(resumed.status.to_wire(), Observed(resume=ResumePoint(1, 0, None)), data=VIDEOS))
    assert begun.status.phase == "Preparing"


def test_another_run_prepares_anew_once_the_pods_of_the_last_are_gone(make_view: MakeView) -> None:
    dataset = made(make_view(PREPARING, data=VIDEOS).training).to_wire()
    old = {"phase": "Preparing", "run": 1, "runId": "a", "dataset": dataset}
    seen = dataclasses.replace(KEYS, jobs=(job(),), pods=(pod(),), resume=ResumePoint(2, 0, None))
    waiting = decide(make_view(old, seen, data=VIDEOS, runId="b"))
    assert (waiting.status.phase, waiting.status.run, waiting.status.dataset) == ("Pending", 2, None)
    assert "p0 must end first" in says(waiting, "Running")[2]
    begun = decide(
        make_view(waiting.status.to_wire(), Observed(resume=ResumePoint(2, 0, None)), data=VIDEOS, runId="b")
    )
    assert (begun.status.phase, begun.status.run) == ("Preparing", 2)


def test_a_run_that_was_restored_finds_its_datasets_and_goes_on_with_the_next_attempt(make_view: MakeView) -> None:
    between = {"phase": "Pending", "run": 1, "attempt": 4, "notBefore": NOW.isoformat()}
    asked = decide(make_view(between, Observed(resume=ResumePoint(1, 4, None)), data=VIDEOS))
    assert (asked.status.phase, asked.status.attempt) == ("Preparing", 4)
    dataset = made(make_view(PREPARING, data=VIDEOS).training)
    seen = dataclasses.replace(KEYS, prepared=PreparedSeen(1, 4, dataset))
    found = decide(make_view(asked.status.to_wire(), seen, data=VIDEOS))
    assert (found.status.phase, found.status.not_before) == ("Pending", NOW)
    then = decide(make_view(found.status.to_wire(), Observed(resume=ResumePoint(1, 4, None)), data=VIDEOS))
    assert then.status.attempt == 5


# What the pods leave is not trusted


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"prefix": "datasets/others/" + "a" * 64 + "/" + "b" * 16 + "/"}, "not below datasets/team/"),
        ({"prefix": "datasets/team/../others/aaaaaaaa/"}, "not below datasets/team/"),
        ({"prefix": "datasets/team/a/"}, "not below datasets/team/"),
        ({"prefix": "models/" + "a" * 64 + "/"}, "not below datasets/team/"),
        ({"uri": "s3://kinema/inputs/team/other/"}, "one dataset for each folder"),
        ({"samples": 0}, "counts"),
        ({"samples": 2**63}, "counts"),
        ({"seconds": 1e300}, "counts"),
        ({"dropped": {"x" * 64: 1}}, "dropped"),
        ({"dropped": {str(n): 1 for n in range(65)}}, "dropped"),
        ({"digest": "sha256:short"}, "digest"),
        ({"samples": -1}, "samples"),
    ],
)
def test_a_result_from_a_hostile_pod_is_refused(make_training: MakeTraining, change: dict[str, Any], why: str) -> None:
    training = make_training(PREPARING, data=VIDEOS)
    with pytest.raises(InvalidManifest, match=why):
        made(training, {**RESULT, "datasets": [{**MADE, **change}]})


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"\xff", b"{" * 5000, json.dumps({**RESULT, "datasets": []}).encode(), b" " * (MAX_RESULT_BYTES + 1)],
)
def test_what_is_no_result_is_refused_with_a_remedy(make_training: MakeTraining, data: bytes) -> None:
    with pytest.raises(InvalidManifest, match="set a new runId"):
        made(make_training(PREPARING, data=VIDEOS), data)


def test_infinity_in_a_result_is_refused(make_training: MakeTraining) -> None:
    text = json.dumps({**RESULT, "datasets": [{**MADE, "seconds": 1.5}]}).replace("1.5", "Infinity")
    with pytest.raises(InvalidManifest, match="set a new runId"):
        made(make_training(PREPARING, data=VIDEOS), text.encode())


def test_several_datasets_have_one_digest_over_all(make_training: MakeTraining) -> None:
    two = [{"uri": URI}, {"uri": "s3://kinema/shared/clips/"}]
    training = make_training(PREPARING, data={"videos": two})
    both = [MADE, {**MADE, "uri": two[1]["uri"], "digest": "sha256:" + "e" * 64}]
    found = made(training, {**RESULT, "datasets": both})
    assert found.digest not in {DIGEST, "sha256:" + "e" * 64}
    assert found.samples == 2468
    with pytest.raises(InvalidManifest, match="one dataset for each folder"):
        made(training, {**RESULT, "datasets": both[::-1]})


# Rights


def test_keys_open_what_the_work_needs(make_training: MakeTraining) -> None:
    training = make_training(PREPARING, data=VIDEOS)
    own = scope.of_preparers(training)
    assert own.write == ("datasets/team/",)
    assert own.append == ("trainings/team/tiny-world/7a1f/run-001/",)
    assert own.browse == ("inputs/team/clips/",)
    assert scope.of_trainers(training) == scope.Scope(("trainings/team/tiny-world/7a1f/",))
    status = {"phase": "Training", "run": 1, "attempt": 1, "dataset": made(training).to_wire()}
    trained = scope.of_trainers(make_training(status, data=VIDEOS))
    assert trained.write == ("trainings/team/tiny-world/7a1f/",)
    assert trained.read == ("datasets/team/" + "a" * 32,)

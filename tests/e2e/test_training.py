"""Trainings on the real cluster: a long one, from its pods' argv through what happens to it, and a short one's end."""

from __future__ import annotations

import json

import pytest

from e2e.conftest import PUBLISHED_STEPS, training
from kinema_api import launch, layout, names
from kinema_api.manifest import Manifest
from kinema_api.objectstore import StoreLocation
from kinema_api.training import VideoModelTraining
from kinema_operator.core.settings import Settings
from kinema_operator.training import children
from kinema_operator.training.objects.pod import POD_ENV
from stage import faults, install, kube, runs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
NAME = "lived"
# It does not end by itself, however fast the machine is and however long the tests take.
STEPS = 1_000_000
OPTIMIZATION = {"steps": STEPS, "batchTokens": 1024, "learningRate": 1e-4, "seed": 1}


@pytest.fixture(scope="module")
def running(namespace: str) -> str:
    """The namespace of a training that steps on two nodes, and goes on for as long as there are tests."""
    kube.apply(training(NAME, STEPS, optimization=OPTIMIZATION), namespace)
    kube.until(lambda: runs.stepping(NAME, namespace, 2), "two stepping workers", 180)
    return namespace


def _live(namespace: str) -> dict:
    pod = runs.trainer_pods(NAME, namespace)[0]
    return kube.get("pod", pod.name, namespace) or {}


def test_argv_and_env_of_a_live_worker_equal_the_appdefs(running: str) -> None:
    described = VideoModelTraining.parse(kube.get("vmt", NAME, running))
    container = _live(running)["spec"]["containers"][0]
    argv = [*container["command"], *container.get("args", [])]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    location = StoreLocation(endpoint=env["KINEMA_STORE_ENDPOINT"], bucket=env["KINEMA_STORE_BUCKET"])
    _, app = children.describe_attempt(described, location, Settings(worker_image=container["image"]))
    role = next(r for r in app.roles if r.name == launch.TRAINER_ROLE)
    assert argv == [role.entrypoint, *role.args]
    assert {name: env[name] for name in role.env} == role.env
    # The Job controller adds the index of an Indexed Job.
    assert set(env) - set(role.env) == {*POD_ENV, "JOB_COMPLETION_INDEX"}


def test_pods_hold_nothing_that_a_prompt_or_a_trainer_could_misuse(running: str) -> None:
    pod = _live(running)
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    security = {**spec["securityContext"], **container["securityContext"]}
    assert spec["automountServiceAccountToken"] is False
    assert not any("hostPath" in volume for volume in spec["volumes"])
    assert security["readOnlyRootFilesystem"] is True
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 100_000
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    name = pod["metadata"]["name"]
    kube.kubectl("exec", name, "-n", running, "--", "touch", "/tmp/w", "/dev/shm/w")
    refused = kube.kubectl("exec", name, "-n", running, "--", "touch", "/w", check=False)
    assert "Read-only file system" in refused
    token = kube.kubectl("exec", name, "-n", running, "--", "ls", "/var/run/secrets", check=False)
    assert "No such file" in token


def test_a_foreign_pod_is_refused(running: str, foreign_reach) -> None:
    worker = _live(running)["status"]["podIP"]
    assert foreign_reach(worker, names.PROGRESS_PORT) is False
    store = kube.get("pod", names.store_name(NAME, 1, 1), running) or {}
    assert foreign_reach(store["status"]["podIP"], names.RENDEZVOUS_PORT) is False


def test_a_killed_worker_costs_a_round_and_no_attempt(running: str) -> None:
    group = runs.stepping(NAME, running, 2) or []
    rank_zero = next(pod for pod, progress in group if progress.rank == 0)
    round_ = max(progress.round for _, progress in group)
    survivors = [pod for pod, _ in group if pod != rank_zero]
    assert faults.kill_pod(rank_zero.uid) > 0
    _, progress = runs.first_step_after(survivors, round_, 0, 120)
    assert progress.world_size == 1
    kube.until(lambda: runs.stepping(NAME, running, 2), "the replacement stepping", 240)
    assert runs.training_status(NAME, running)["attempt"] == 1


def test_a_lost_rendezvous_store_costs_a_round_and_no_attempt(running: str) -> None:
    name = names.store_name(NAME, 1, 1)
    before = kube.get("pod", name, running) or {}
    round_ = max(progress.round for _, progress in runs.stepping(NAME, running, 2) or [])
    assert faults.kill_pod(before["metadata"]["uid"]) > 0

    def in_a_later_round() -> bool:
        group = runs.stepping(NAME, running, 2)
        return bool(group) and all(progress.round > round_ for _, progress in group or [])

    kube.until(in_a_later_round, "both workers in a later round", 240)
    assert runs.training_status(NAME, running)["attempt"] == 1


def test_kubectl_scale_grows_and_shrinks_it(running: str) -> None:
    kube.kubectl("scale", f"vmt/{NAME}", "-n", running, "--replicas=3")
    kube.until(lambda: runs.stepping(NAME, running, 3), "three stepping workers", 240)
    kube.kubectl("scale", f"vmt/{NAME}", "-n", running, "--replicas=1")
    kube.until(lambda: runs.stepping(NAME, running, 1), "one stepping worker", 240)
    assert runs.training_status(NAME, running)["attempt"] == 1
    refused = kube.kubectl("scale", f"vmt/{NAME}", "-n", running, "--replicas=9", check=False)
    assert "nodes must lie between" in refused


def test_an_upgraded_operator_leaves_running_pods_alone(running: str) -> None:
    kube.kubectl("scale", f"vmt/{NAME}", "-n", running, "--replicas=2")
    kube.until(lambda: runs.stepping(NAME, running, 2), "two stepping workers", 240)
    before = {pod.uid for pod in runs.trainer_pods(NAME, running)}
    _, content = install.control_plane_image()
    install.upgrade(content, "--set", "worker.cpuThreads=2")
    install.upgrade(content)
    assert {pod.uid for pod in runs.trainer_pods(NAME, running)} == before


def test_a_killed_leader_is_replaced_and_nothing_is_doubled(running: str) -> None:
    jobs = {job["metadata"]["uid"] for job in kube.items("jobs", running)}
    lease = kube.get("lease", "kinema-operator", install.SYSTEM) or {}
    holder = lease["spec"]["holderIdentity"]
    pod = next(p for p in kube.items("pods", install.SYSTEM) if holder.startswith(p["metadata"]["name"]))
    faults.kill_pod(pod["metadata"]["uid"])
    kube.until(
        lambda: (
            (kube.get("lease", "kinema-operator", install.SYSTEM) or {})["spec"].get("holderIdentity")
            not in (None, "", holder)
        ),
        "another leader",
        60,
    )
    assert {job["metadata"]["uid"] for job in kube.items("jobs", running)} == jobs


def test_a_short_one_succeeds_and_publishes_what_its_manifest_says(published: tuple[str, str]) -> None:
    namespace, name = published
    digest = runs.training_status(name, namespace)["published"]["digest"]
    store = install.store()
    manifest = Manifest.from_bytes(store.get(layout.model_prefix(digest) + layout.MANIFEST), digest)
    assert manifest.digest() == digest
    assert manifest.step == PUBLISHED_STEPS
    for file in manifest.files:
        assert store.sha256(layout.model_prefix(digest) + file.name) == (file.sha256, file.bytes)
    kube.until(lambda: not runs.trainer_pods(name, namespace), "leftover workers gone", 120)
    kube.kubectl("wait", "--for=condition=Succeeded", f"vmt/{name}", "-n", namespace, "--timeout=10s")
    followed = kube.until(
        lambda: (kube.get("vmodel", name, namespace) or {}).get("status", {}).get("digest") == digest,
        "the model following",
        60,
    )
    assert followed
    events = json.loads(kube.kubectl("get", "events", "-n", namespace, "-o", "json"))["items"]
    assert {"Succeeded", "RunSucceeded"} & {event["reason"] for event in events}

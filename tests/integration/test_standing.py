"""How a resource stands, in the conditions that kubectl, GitOps tools and people wait for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from integration.attempts_operator import KIND, training
from integration.kinds import GENERATION, MODEL, TRAINING
from integration.kubectl import Kubectl, changed
from integration.operators import KINEMA, replica
from integration.server import WAIT_SECONDS, Server, until
from kinema_api import names
from kinema_operator.core.resources import ref_to
from kinema_operator.shell.client import Client

pytestmark = pytest.mark.apiserver

SECONDS = WAIT_SECONDS
SUSPENDED = changed(TRAINING, "spec.suspend", True)


def conditions(kubectl: Kubectl, kind: str, name: str) -> dict[str, dict[str, Any]]:
    found = kubectl.get(kind, name)
    return {c["type"]: c for c in (found.get("status") or {}).get("conditions") or ()}


async def standing(kubectl: Kubectl, kind: str, name: str, reason: str) -> dict[str, tuple[str, str]]:
    """Ready, Reconciling and Stalled as (status, reason), once Ready has that reason."""

    async def told() -> Any:
        found = conditions(kubectl, kind, name)
        return found if found.get("Ready", {}).get("reason") == reason else None

    found = await until(told, f"Ready of {kind}/{name} with the reason {reason}", SECONDS)
    three = ("Ready", "Reconciling", "Stalled")
    return {type_: (c["status"], c["reason"]) for type_, c in found.items() if type_ in three}


async def test_every_condition_can_be_waited_for_after_any_edit(
    server: Server, kubectl: Kubectl, tmp_path: Path
) -> None:
    with replica(server.kubeconfig, kubectl.namespace, tmp_path / "only.log", KINEMA):
        assert kubectl.apply(SUSPENDED).code == 0
        kubectl("wait", "--for=condition=Suspended", "vmt/training", "--timeout=20s")
        kubectl("scale", "vmt/training", "--replicas=3")
        for wait in ("condition=Suspended", "condition=Accepted", "condition=Running=False", "condition=Ready=False"):
            answer = kubectl.ask("wait", f"--for={wait}", "vmt/training", "--timeout=8s")
            assert answer.code == 0, f"{wait}: {answer.err}"


async def test_kstatus_of_every_kind(server: Server, kubectl: Kubectl, tmp_path: Path) -> None:
    with replica(server.kubeconfig, kubectl.namespace, tmp_path / "only.log", KINEMA):
        for manifest in (SUSPENDED, MODEL, GENERATION, changed(TRAINING, "metadata.name", "waits")):
            assert kubectl.apply(manifest).code == 0
        assert await standing(kubectl, "vmt", "training", "Suspended") == {"Ready": ("False", "Suspended")}
        assert await standing(kubectl, "vmt", "waits", "StorageDenied") == {
            "Ready": ("False", "StorageDenied"),
            "Reconciling": ("True", "StorageDenied"),
        }
        for kind, name, reason in (("vmodel", "model", "NotPublishedYet"), ("vgen", "clip", "ModelNotReady")):
            assert await standing(kubectl, kind, name, reason) == {
                "Ready": ("False", reason),
                "Reconciling": ("True", reason),
            }
        kubectl("patch", "vgen", "clip", "--type=merge", "-p", '{"spec":{"cancel":true}}')
        found = await standing(kubectl, "vgen", "clip", conditions(kubectl, "vgen", "clip")["Cancelled"]["reason"])
        assert (found["Ready"][0], found["Stalled"][0], "Reconciling" in found) == ("False", "True", False)
        kubectl("wait", "--for=condition=Stalled", "vgen/clip", "--timeout=5s")


ENDED = [
    ("vmt", SUSPENDED, "Succeeded", ("Succeeded", "Published"), {"Ready": ("True", "Succeeded")}),
    (
        "vmt",
        SUSPENDED,
        "Failed",
        ("Failed", "OutOfMemory"),
        {"Ready": ("False", "OutOfMemory"), "Stalled": ("True", "OutOfMemory")},
    ),
    ("vgen", GENERATION, "Succeeded", ("Succeeded", "Delivered"), {"Ready": ("True", "Succeeded")}),
    (
        "vgen",
        GENERATION,
        "Failed",
        ("Failed", "InputFailed"),
        {"Ready": ("False", "InputFailed"), "Stalled": ("True", "InputFailed")},
    ),
]


@pytest.mark.parametrize(("kind", "manifest", "phase", "condition", "wanted"), ENDED)
async def test_what_has_ended_before_an_upgrade_is_told_too(
    server: Server,
    kubectl: Kubectl,
    tmp_path: Path,
    kind: str,
    manifest: dict[str, Any],
    phase: str,
    condition: tuple[str, str],
    wanted: dict[str, tuple[str, str]],
) -> None:
    name = manifest["metadata"]["name"]
    kubectl.apply(manifest)
    time = "2026-03-01T00:00:00Z"
    ended = {"type": condition[0], "status": "True", "reason": condition[1], "message": "", "lastTransitionTime": time}
    kubectl.set_status(
        kind, name, {"phase": phase, "attempt": 1, "conditions": [ended], "completionTime": time}
        | ({"run": 1} if kind == "vmt" else {})
    )  # fmt: skip
    with replica(server.kubeconfig, kubectl.namespace, tmp_path / "only.log", KINEMA):
        assert await standing(kubectl, kind, name, wanted["Ready"][1]) == wanted
        assert kubectl.get(kind, name)["status"]["phase"] == phase


async def test_why_a_pod_does_not_run_is_a_reason_of_its_resource(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    """The store's pod stands in for any: an image that cannot be had, a container that keeps ending, no node."""
    told = [
        ({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}, "ImagePullBackOff"),
        ({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}, "CrashLoopBackOff"),
    ]
    kubectl = Kubectl(server.kubeconfig, namespace)
    with replica(server.kubeconfig, namespace, tmp_path / "only.log"):
        await client.post(training(namespace, "one"))

        async def store() -> Any:
            return await client.get("Pod", namespace, names.store_name("one", 1, 1))

        pod = await until(store, "the store's pod", SECONDS)
        for state, reason in told:
            status = {"name": "c", "image": "i", "imageID": "", "ready": False, "restartCount": 1, "state": state}
            body = {"phase": "Pending", "containerStatuses": [status]}
            pod = await client.patch_status(ref_to(pod), body, pod["metadata"]["resourceVersion"])
            assert (await standing(kubectl, "vmt", "one", reason))["Reconciling"] == ("True", reason)
        unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
        body = {"containerStatuses": [], "conditions": [unscheduled]}
        await client.patch_status(ref_to(pod), body, pod["metadata"]["resourceVersion"])
        await standing(kubectl, "vmt", "one", "Unschedulable")
        assert "0/3 nodes" in conditions(kubectl, "vmt", "one")["Ready"]["message"]
        assert (await client.get(KIND, namespace, "one") or {})["status"]["phase"] == "Training"

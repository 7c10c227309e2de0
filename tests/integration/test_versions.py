"""An older and a newer operator on one CRD: neither loses or spoils what only the other knows."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.apiserver import ApiServer
from integration.attempts_operator import training
from integration.kinds import GENERATION, MODEL, TRAINING
from integration.kubectl import Kubectl, changed
from integration.operators import ATTEMPTS, KINEMA, replica
from integration.server import REPOSITORY, WAIT_SECONDS, install_crds, until

pytestmark = pytest.mark.apiserver

NEWER = {"vmt": "Distilling", "vmodel": "Canary", "vgen": "Moderating"}
"""A phase of each kind that this operator does not know."""
SECONDS = WAIT_SECONDS


def newer(crd: dict[str, Any]) -> dict[str, Any]:
    """The CRD as a later version of Kinema has it: another phase, another field, and richer items of a list."""
    (version,) = crd["spec"]["versions"]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    status["phase"]["enum"].append(NEWER[crd["spec"]["names"]["shortNames"][0]])
    status["costs"] = {"type": "object", "properties": {"gpuSeconds": {"type": "integer"}}}
    status["conditions"]["items"]["properties"]["severity"] = {"type": "string", "maxLength": 16}
    return crd


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An API server with the newer CRDs."""
    with ApiServer(tmp_path_factory.mktemp("newer")) as running:
        asyncio.run(install_crds(running.kubeconfig))
        cluster = Kubectl(running.kubeconfig, "default")
        for file in (REPOSITORY / "manifests" / "crds").glob("*.yaml"):
            crd = newer(yaml.safe_load(file.read_text()))
            cluster("replace", "-f", "-", stdin=json.dumps(crd))
        yield running.kubeconfig


@pytest.fixture
def kubectl(kubeconfig: Path) -> Kubectl:
    name = f"v-{uuid.uuid4().hex[:10]}"  # another one when a test is run again
    Kubectl(kubeconfig, "default")("create", "namespace", name)
    made = Kubectl(kubeconfig, name)
    made("create", "serviceaccount", "default")
    return made


def conditions(kubectl: Kubectl, kind: str, name: str) -> dict[str, dict[str, Any]]:
    return {c["type"]: c for c in kubectl.get(kind, name).get("status", {}).get("conditions") or ()}


@pytest.mark.parametrize(
    ("kind", "manifest"),
    [("vmt", changed(TRAINING, "spec.suspend", True)), ("vmodel", MODEL), ("vgen", GENERATION)],
    ids=["training", "model", "generation"],
)
async def test_a_phase_of_a_newer_operator_is_left_alone(
    kind: str, manifest: dict[str, Any], kubectl: Kubectl, tmp_path: Path
) -> None:
    name = manifest["metadata"]["name"]
    time = "2026-03-01T00:00:00Z"
    theirs = {"type": "Accepted", "status": "True", "reason": "Fine", "lastTransitionTime": time, "severity": "info"}
    written = {"phase": NEWER[kind], "costs": {"gpuSeconds": 7}, "conditions": [theirs], "observedGeneration": 1}
    assert kubectl.apply(manifest).code == 0
    kubectl.set_status(kind, name, written)
    with replica(kubectl.kubeconfig, kubectl.namespace, tmp_path / "only.log", KINEMA):

        async def told() -> Any:
            return (
                "Ready" in conditions(kubectl, kind, name) or kubectl.get(kind, name)["status"]["phase"] != NEWER[kind]
            )

        await until(told, "a word about it", SECONDS)
        status = kubectl.get(kind, name)["status"]
        assert (status["phase"], status.get("costs")) == (NEWER[kind], {"gpuSeconds": 7})
        there = conditions(kubectl, kind, name)
        assert there["Accepted"] == theirs
        assert (there["Ready"]["status"], there["Ready"]["reason"]) == ("False", "UnreadableStatus")
        assert "status.phase" in there["Ready"]["message"]


async def test_what_an_older_operator_does_not_know_survives_its_writes(kubectl: Kubectl, tmp_path: Path) -> None:
    assert kubectl.apply(dict(training(kubectl.namespace, "one"))).code == 0
    running = {
        "type": "Running",
        "status": "False",
        "reason": "Queued",
        "message": "",
        "lastTransitionTime": "2026-03-01T00:00:00Z",
        "severity": "info",
    }
    kubectl.set_status(
        "vmt",
        "one",
        {"phase": "Training", "run": 1, "attempt": 1, "costs": {"gpuSeconds": 7}, "conditions": [running]},
    )
    with replica(kubectl.kubeconfig, kubectl.namespace, tmp_path / "only.log", ATTEMPTS):

        async def written() -> bool:
            return conditions(kubectl, "vmt", "one")["Running"]["status"] == "True"

        await until(written, "a write of the older operator", SECONDS)
        assert kubectl.get("vmt", "one")["status"].get("costs") == {"gpuSeconds": 7}
        assert conditions(kubectl, "vmt", "one")["Running"].get("severity") == "info"


async def test_an_older_operator_goes_on_where_fields_were_pruned(kubectl: Kubectl, tmp_path: Path) -> None:
    """A status written under newer CRDs, read under the present ones: what was pruned is merely absent.

    It puts the present CRDs in place of the newer ones, so it is the last of this file.
    """
    assert kubectl.apply(dict(training(kubectl.namespace, "one"))).code == 0
    kubectl.set_status("vmt", "one", {"phase": "Training", "run": 1, "attempt": 1, "costs": {"gpuSeconds": 7}})
    for file in (REPOSITORY / "manifests" / "crds").glob("*.yaml"):
        kubectl("replace", "-f", str(file))

    async def pruned() -> bool:
        return "costs" not in kubectl.get("vmt", "one")["status"]

    await until(pruned, "the newer field pruned", SECONDS)
    with replica(kubectl.kubeconfig, kubectl.namespace, tmp_path / "only.log", ATTEMPTS):

        async def ready() -> bool:
            return "Running" in conditions(kubectl, "vmt", "one") and "Ready" in conditions(kubectl, "vmt", "one")

        await until(ready, "the older operator's own words", SECONDS)

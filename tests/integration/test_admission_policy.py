"""The chart on a real API server: the operator's token makes what the operator makes, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.apiserver import ApiServer
from integration.helm import Helm
from integration.kubectl import Answer, Kubectl
from kinema_api.objectstore import StoreCredentials
from kinema_api.serving import VideoModel
from kinema_api.training import VideoModelTraining, VideoModelTrainingSpec
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.manifests import rbac
from kinema_operator.serving.objects.deployment import server_deployment
from kinema_operator.serving.objects.network_policy import server_network_policy
from kinema_operator.serving.objects.service import server_service
from kinema_operator.shell.connection import Connection
from kinema_operator.training import children
from kinema_operator.training.objects.job import job
from kinema_operator.training.objects.network_policy import network_policy
from kinema_operator.training.objects.rendezvous_pod import Making, store_pod
from kinema_operator.training.objects.secret import storage_secret
from kinema_operator.training.objects.service import rendezvous_service
from kinema_operator.training.objects.video_model import video_model

pytestmark = pytest.mark.apiserver

DIGEST = "sha256:" + "ab" * 32
SETTINGS = Settings(store_endpoint="http://minio.kinema-system.svc:9000")
LOCATION = store_location(None, SETTINGS)
TENANT = "team-a"
LABELS = {"app.kubernetes.io/managed-by": "kinema-operator"}
REFUSED = "Kinema's operator"
_SPEC: dict[str, Any] = {"model": {"preset": "tiny"}, "data": {"world": {}}, "optimization": {"steps": 10}}
ACCOUNT = {"serviceAccountName": "trainers"}


def _training() -> VideoModelTraining:
    status = {"run": 1, "attempt": 1}
    metadata = {"name": "tiny", "namespace": TENANT, "uid": "11111111-1111-1111-1111-111111111111"}
    return VideoModelTraining.parse({"metadata": metadata, "spec": _SPEC, "status": status})


def _model() -> VideoModel:
    metadata = {"name": "tiny", "namespace": TENANT, "uid": "22222222-2222-2222-2222-222222222222"}
    return VideoModel.parse({"metadata": metadata, "spec": {"source": {"digest": DIGEST}}})


TEMPLATE = {
    "labels": {"example.com/team": "video"},
    "volumes": [{"name": "clips", "mountPath": "/mnt/clips", "persistentVolumeClaim": {"claimName": "clips"}}],
}


def of_a_template() -> list[dict[str, Any]]:
    """A Job and a Deployment with volumes and, the Job, an account of the list."""
    training = _training().model_copy(
        update={"spec": VideoModelTrainingSpec.parse(_SPEC | {"worker": {"podTemplate": TEMPLATE | ACCOUNT}})}
    )
    config, app = children.describe_attempt(training, LOCATION, SETTINGS)
    serving = VideoModel.parse(
        {
            "metadata": {"name": "wide", "namespace": TENANT, "uid": "33333333-3333-3333-3333-333333333333"},
            "spec": {"source": {"digest": DIGEST}, "serving": {"podTemplate": TEMPLATE}},
        }
    )
    return [job(training, app, config, 2, SETTINGS), dict(server_deployment(serving, DIGEST, 1, SETTINGS))]


def made() -> list[dict[str, Any]]:
    """One object of every kind that the operator makes."""
    training, model = _training(), _model()
    config, app = children.describe_attempt(training, LOCATION, SETTINGS)
    keys = StoreCredentials(access_key="a", secret_key="s", expires=1e9)
    objects = (
        job(training, app, config, 2, SETTINGS),
        store_pod(training, app, config, SETTINGS, Making()),
        network_policy(TENANT, [LOCATION.endpoint], SETTINGS),
        rendezvous_service(TENANT),
        storage_secret(training, LOCATION.model_copy(update={"ca_bundle": "-----BEGIN CERTIFICATE-----"}), keys),
        video_model(training, "follower"),
        server_deployment(model, DIGEST, 1, SETTINGS),
        server_service(model, DIGEST),
        server_network_policy(model, ["http://minio.kinema-system.svc:9000"], SETTINGS),
    )
    return [dict(made) for made in objects]


def _pod(**spec: Any) -> dict[str, Any]:
    container = {
        "name": "c",
        "image": "i",
        "securityContext": {"allowPrivilegeEscalation": False},
        **spec.pop("container", {}),
    }
    base = {"automountServiceAccountToken": False, "containers": [container]}
    metadata = {"name": "p", "namespace": TENANT, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**base, **spec}}


def _in_template(api_version: str, kind: str, pod: dict[str, Any]) -> dict[str, Any]:
    spec = {"restartPolicy": "Never"} if kind == "Job" else {}
    template = {"metadata": {"labels": LABELS}, "spec": {**pod["spec"], **spec}}
    content: dict[str, Any] = {"template": template}
    if kind == "Deployment":
        content["selector"] = {"matchLabels": LABELS}
    return {"apiVersion": api_version, "kind": kind, "metadata": pod["metadata"], "spec": content}


def _as_trainer(manifest: dict[str, Any]) -> dict[str, Any]:
    labels = {**LABELS, "app.kubernetes.io/component": "trainer"}
    return {**manifest, "metadata": {**manifest["metadata"], "labels": labels}}


def _secret(name: str, type_: str = "Opaque", labels: dict[str, str] = LABELS, **metadata: Any) -> dict[str, Any]:
    place = {"name": name, "namespace": TENANT, "labels": labels, **metadata}
    return {"apiVersion": "v1", "kind": "Secret", "type": type_, "metadata": place}


def _service(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "s", "namespace": TENANT, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}], **spec}}


_TOKEN_VOLUME = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
_KEY_ENV = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "tenants-keys", "key": "secretKey"}}}
_ANOTHER_ACCOUNT = _pod(serviceAccountName="powerful")

FORBIDDEN = {
    "a pod as another service account": _ANOTHER_ACCOUNT,
    "a Job as another service account": _in_template("batch/v1", "Job", _ANOTHER_ACCOUNT),
    "a Deployment as another service account": _in_template("apps/v1", "Deployment", _ANOTHER_ACCOUNT),
    "a pod with a token": _pod(automountServiceAccountToken=True),
    "a pod with a projected token": _pod(volumes=[_TOKEN_VOLUME]),
    "a pod with a tenant's Secret": _pod(volumes=[{"name": "k", "secret": {"secretName": "tenants-keys"}}]),
    "a pod with a tenant's Secret in its environment": _pod(container={"env": [_KEY_ENV]}),
    "a pod with all of a Secret in its environment": _pod(
        container={"envFrom": [{"secretRef": {"name": "tenants-keys"}}]}
    ),
    "a pod with a tenant's disk": _pod(volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]),
    "a pod as an account of trainers": _pod(**ACCOUNT),
    "a Job of another kind as an account of trainers": _in_template("batch/v1", "Job", _pod(**ACCOUNT)),
    "a Deployment as an account of trainers": _in_template("apps/v1", "Deployment", _pod(**ACCOUNT)),
    "a trainer as another service account": _as_trainer(_in_template("batch/v1", "Job", _ANOTHER_ACCOUNT)),
    "a trainer with the token of its account": _as_trainer(
        _in_template("batch/v1", "Job", _pod(**ACCOUNT, automountServiceAccountToken=True))
    ),
    "a pod with the node's files": _pod(volumes=[{"name": "h", "hostPath": {"path": "/"}}]),
    "a pod in the node's network": _pod(hostNetwork=True),
    "a pod among the node's processes": _pod(hostPID=True),
    "a privileged pod": _pod(container={"securityContext": {"privileged": True}}),
    "a pod with a port of the node": _pod(container={"ports": [{"containerPort": 1, "hostPort": 1}]}),
    "a privileged init container": _pod(
        initContainers=[{"name": "i", "image": "i", "securityContext": {"privileged": True}}]
    ),
    "a Job with the node's files": _in_template(
        "batch/v1", "Job", _pod(volumes=[{"name": "h", "hostPath": {"path": "/"}}])
    ),
    "a token of a service account": _secret(
        "x-storage",
        "kubernetes.io/service-account-token",
        annotations={"kubernetes.io/service-account.name": "powerful"},
    ),
    "a Secret of another name": _secret("registry"),
    "a Secret without the operator's label": _secret("x-storage", labels={}),
    "a Service on every node": _service(type="NodePort"),
    "a Service that takes an address": _service(externalIPs=["192.0.2.1"]),
}


@pytest.fixture(scope="module")
def administrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl as an administrator of an API server with the chart in it, and a tenant's own objects."""
    with ApiServer(tmp_path_factory.mktemp("admission")) as running:
        _install(running.kubeconfig)
        yield Kubectl(running.kubeconfig, TENANT)


def _install(kubeconfig: Path) -> None:
    Helm(kubeconfig).upgrade(rbac.SYSTEM_NAMESPACE, "--set-json", 'allowedServiceAccounts=["trainers", "others"]')
    Kubectl(kubeconfig, "default")("create", "namespace", TENANT)
    there = Kubectl(kubeconfig, TENANT)
    for account in ("default", "powerful", "trainers"):
        there("create", "serviceaccount", account)
    there("create", "secret", "generic", "tenants-keys", "--from-literal=secretKey=k")
    there("create", "secret", "generic", "tenants-storage", "--from-literal=secretKey=k")
    there("create", "service", "clusterip", "tenants", "--tcp=80")
    there("create", "-f", "-", stdin=json.dumps(_strangers_pod()))


def _strangers_pod() -> dict[str, Any]:
    pod = copy.deepcopy(_pod())
    pod["metadata"] = {"name": "tenants", "namespace": TENANT}
    return pod


class Operator:
    """kubectl with the operator's account."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def create(self, manifest: dict[str, Any]) -> Answer:
        """POST an object, as the operator does; nothing is kept."""
        account = f"--as={rbac.audit_user()}"
        return self._kubectl.ask("create", account, "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))

    async def patch(self, plural: str, name: str, body: dict[str, Any]) -> tuple[int, str]:
        """PATCH one object without reading it first, as kubectl would; status and text of the answer."""
        connection = await Connection.load(self._kubectl.kubeconfig)
        url = f"{connection.server}/api/v1/namespaces/{TENANT}/{plural}/{name}"
        headers = {"Content-Type": "application/merge-patch+json", "Impersonate-User": rbac.audit_user()}
        async with (
            connection.session() as http,
            http.patch(url, data=json.dumps(body), headers={**await connection.headers(), **headers}) as answer,
        ):
            return answer.status, await answer.text()

    def ask(self, *arguments: str) -> Answer:
        """Run a command."""
        return self._kubectl.ask(*arguments, f"--as={rbac.audit_user()}")


@pytest.fixture(scope="module")
def operator(administrator: Kubectl) -> Operator:
    """The operator's account, once the API server has taken the policy up."""
    acting = Operator(administrator)
    for _ in range(200):
        if not _admitted(acting.create(_ANOTHER_ACCOUNT)):
            break
    return acting


def _admitted(answer: Answer) -> bool:
    return answer.code == 0


@pytest.mark.parametrize("manifest", made() + of_a_template(), ids=lambda m: m["kind"] + "-" + m["metadata"]["name"])
def test_what_the_operator_makes_is_admitted(manifest: dict[str, Any], operator: Operator) -> None:
    answer = operator.create(manifest)
    assert _admitted(answer), answer.err


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_stolen_token_of_the_operator_cannot_make(what: str, operator: Operator) -> None:
    answer = operator.create(FORBIDDEN[what])
    assert not _admitted(answer), f"{what} was admitted"
    assert REFUSED in answer.err or "operator makes" in answer.err, answer.err


@pytest.mark.parametrize(
    ("plural", "name", "patch"),
    [
        ("secrets", "tenants-storage", {"stringData": {"secretKey": "mine"}}),
        ("secrets", "tenants-keys", {"metadata": {"labels": LABELS}}),
        ("secrets", "tenants-keys", {}),
        ("services", "tenants", {"spec": {"selector": {"app": "mine"}}}),
        ("pods", "tenants", {"metadata": {"labels": LABELS}}),
    ],
)
async def test_a_stolen_token_of_the_operator_changes_nothing_of_a_tenants(
    plural: str, name: str, patch: dict[str, Any], operator: Operator
) -> None:
    status, answer = await operator.patch(plural, name, patch)
    assert status != 200, f"a patch of {plural}/{name} was admitted, and its answer is the whole object"
    assert "only objects that it made" in answer


@pytest.mark.parametrize("what", ["service", "pod"])
def test_a_stolen_token_of_the_operator_deletes_nothing_of_a_tenants(what: str, operator: Operator) -> None:
    answer = operator.ask("delete", what, "tenants", "--wait=false", "--dry-run=server")
    assert answer.code != 0, f"{what} was deleted"
    assert "only objects that it made" in answer.err


def test_a_stolen_token_of_the_operator_ends_no_training_that_has_no_end(
    administrator: Kubectl, operator: Operator
) -> None:
    spec = {"model": {"preset": "tiny"}, "data": {"world": {}}, "optimization": {"steps": 10}}
    for name, more in (("kept", {}), ("passing", {"ttlSecondsAfterFinished": 1})):
        metadata = {"name": name, "namespace": TENANT}
        manifest = {"apiVersion": "kinema.dev/v1alpha1", "kind": "VideoModelTraining", "metadata": metadata}
        administrator("create", "-f", "-", stdin=json.dumps({**manifest, "spec": {**spec, **more}}))
    answer = operator.ask("delete", "vmt", "kept", "--wait=false")
    assert answer.code != 0, "a training without an end was deleted"
    assert operator.ask("delete", "vmt", "passing", "--wait=false").code == 0


async def test_the_operator_changes_and_deletes_what_it_made(administrator: Kubectl, operator: Operator) -> None:
    secret, service = (next(m for m in made() if m["kind"] == kind) for kind in ("Secret", "Service"))
    for manifest in (secret, service):
        administrator("create", "-f", "-", stdin=json.dumps(manifest))
    status, answer = await operator.patch("secrets", secret["metadata"]["name"], {"stringData": {"a": "b"}})
    assert status == 200, answer
    assert operator.ask("delete", "service", service["metadata"]["name"], "--wait=false").code == 0


def test_everybody_else_is_left_alone(administrator: Kubectl, operator: Operator) -> None:
    privileged = FORBIDDEN["a pod with the node's files"]
    answer = administrator.ask("create", "--dry-run=server", "-f", "-", stdin=json.dumps(privileged))
    assert answer.code == 0, answer.err

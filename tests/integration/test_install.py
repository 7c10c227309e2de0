"""The chart on a real API server: the operator's account can do its work and nothing else, CRDs outlive the chart."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.apiserver import ApiServer
from integration.helm import CHART, Helm
from integration.kubectl import Kubectl
from kinema_api import names
from kinema_api.objectstore import StoreCredentials
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import SECRETS_ROLE
from kinema_operator.manifests import rbac
from kinema_operator.shell import store_key
from kinema_operator.shell.connection import Connection

pytestmark = pytest.mark.apiserver

SYSTEM = rbac.SYSTEM_NAMESPACE
TENANT = "team-a"
ELSEWHERE = "team-b"
TRIAL = ("--set", "minio.enabled=true")
TENANT_VALUES = ("--set", "namespaced=true,crds.install=false,rbac.userRoles=false")

WORK = [
    ("list", "videomodeltrainings.kinema.dev"),
    ("watch", "videogenerations.kinema.dev"),
    ("create", "videomodels.kinema.dev"),
    ("patch", "videomodeltrainings.kinema.dev/status"),
    ("create", "jobs.batch"),
    ("patch", "deployments.apps"),
    ("create", "pods"),
    ("delete", "pods"),
    ("create", "networkpolicies.networking.k8s.io"),
    ("delete", "networkpolicies.networking.k8s.io"),
    ("create", "secrets"),
    ("create", "events"),
]
NONE_OF_ITS_BUSINESS = [
    ("get", "secrets"),
    ("delete", "secrets"),
    ("update", "networkpolicies.networking.k8s.io"),
    ("update", "videogenerations.kinema.dev/status"),
    ("patch", "videomodels.kinema.dev"),
    ("list", "secrets"),
    ("watch", "secrets"),
    ("patch", "videogenerations.kinema.dev"),
    ("delete", "videomodels.kinema.dev"),
    ("create", "pods/exec"),
    ("create", "clusterroles.rbac.authorization.k8s.io"),
    ("create", "serviceaccounts/token"),
    ("get", "configmaps"),
    ("patch", "nodes"),
    ("impersonate", "users"),
]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Kubeconfig of an API server that has never heard of Kinema, with the controllers that aggregate roles."""
    with ApiServer(tmp_path_factory.mktemp("install"), controller_manager=True) as running:
        yield running.kubeconfig


@pytest.fixture(scope="module")
def helm(bare: Path) -> Helm:
    """Helm, with the chart installed cluster-wide and once more for a tenant."""
    made = Helm(bare)
    made.upgrade(SYSTEM, *TRIAL)
    made.upgrade(TENANT, *TENANT_VALUES)
    Kubectl(bare, "default")("create", "namespace", ELSEWHERE)
    return made


@pytest.fixture
def kubectl(bare: Path, helm: Helm) -> Kubectl:
    """kubectl in the operator's namespace."""
    return Kubectl(bare, SYSTEM)


def may(kubectl: Kubectl, account: str, verb: str, resource: str, namespace: str) -> bool:
    """Whether the API server lets `account` do that."""
    name, _, subresource = resource.partition("/")
    flags = [f"--subresource={subresource}"] if subresource else []
    answer = kubectl.ask("auth", "can-i", verb, name, *flags, "-n", namespace, f"--as={account}")
    return answer.out.strip() == "yes"


@pytest.mark.parametrize(("verb", "resource"), WORK)
def test_the_operator_may_do_its_work_everywhere(verb: str, resource: str, kubectl: Kubectl) -> None:
    assert may(kubectl, rbac.audit_user(), verb, resource, ELSEWHERE)


@pytest.mark.parametrize(("verb", "resource"), NONE_OF_ITS_BUSINESS)
def test_the_operator_may_do_nothing_else(verb: str, resource: str, kubectl: Kubectl) -> None:
    assert not may(kubectl, rbac.audit_user(), verb, resource, ELSEWHERE)


@pytest.mark.parametrize(("verb", "resource"), WORK)
def test_a_tenants_operator_works_in_its_namespace_and_nowhere_else(verb: str, resource: str, kubectl: Kubectl) -> None:
    account = rbac.audit_user(TENANT)
    assert may(kubectl, account, verb, resource, TENANT)
    assert not may(kubectl, account, verb, resource, ELSEWHERE)


def test_a_namespace_lets_the_operator_read_its_secrets_by_a_role_binding(kubectl: Kubectl, bare: Path) -> None:
    account = rbac.audit_user()
    assert not may(kubectl, account, "get", "secrets", ELSEWHERE)
    subject = f"--serviceaccount={SYSTEM}:{rbac.SERVICE_ACCOUNT}"
    kubectl("create", "namespace", "opted-in")
    Kubectl(bare, "opted-in")("create", "rolebinding", "kinema", f"--clusterrole={SECRETS_ROLE}", subject)
    assert may(kubectl, account, "get", "secrets", "opted-in")
    assert not may(kubectl, account, "list", "secrets", "opted-in")
    assert not may(kubectl, account, "get", "secrets", ELSEWHERE)


def test_a_tenants_operator_reads_the_secrets_of_its_namespace(kubectl: Kubectl) -> None:
    assert may(kubectl, rbac.audit_user(TENANT), "get", "secrets", TENANT)


def test_the_lease_lies_in_the_operators_namespace(kubectl: Kubectl) -> None:
    assert may(kubectl, rbac.audit_user(), "update", "leases.coordination.k8s.io", SYSTEM)
    assert not may(kubectl, rbac.audit_user(), "update", "leases.coordination.k8s.io", ELSEWHERE)


@pytest.mark.parametrize(
    ("level", "allowed", "refused"),
    [
        ("view", [("get", "videomodels"), ("watch", "videogenerations")], [("create", "videogenerations")]),
        (
            "edit",
            [("create", "videogenerations"), ("patch", "videomodeltrainings/scale")],
            [("patch", "videogenerations/status"), ("deletecollection", "videomodels")],
        ),
        ("admin", [("deletecollection", "videomodels")], [("patch", "videomodeltrainings/status")]),
    ],
)
def test_people_get_the_kinds_with_the_roles_they_have(
    level: str, allowed: list[tuple[str, str]], refused: list[tuple[str, str]], kubectl: Kubectl
) -> None:
    user = f"{level}er"
    kubectl("create", "rolebinding", user, f"--clusterrole={level}", f"--user={user}", "-n", ELSEWHERE)
    for verb, resource in allowed:
        assert _eventually_may(kubectl, user, verb, resource), (verb, resource)
    for verb, resource in refused:
        assert not may(kubectl, user, verb, resource, ELSEWHERE), (verb, resource)


def _eventually_may(kubectl: Kubectl, user: str, verb: str, resource: str) -> bool:
    """Roles are aggregated by a controller, shortly after they are made."""
    return any(may(kubectl, user, verb, resource, ELSEWHERE) for _ in range(100))


async def _operator_makes_the_key(kubeconfig: Path, namespace: str) -> None:
    """What the operator's process does first."""
    settings = Settings(store_generated_secret="kinema-store", pod_namespace=namespace)
    await store_key.ensure(await Connection.load(kubeconfig, "kinema-operator"), settings)


async def test_the_operator_makes_a_key_for_the_store_and_never_changes_it(kubectl: Kubectl, bare: Path) -> None:
    await _operator_makes_the_key(bare, ELSEWHERE)
    made = kubectl("get", "secret", "kinema-store", "-n", ELSEWHERE, "-o", "json")
    await _operator_makes_the_key(bare, ELSEWHERE)
    assert kubectl("get", "secret", "kinema-store", "-n", ELSEWHERE, "-o", "json") == made
    secret = {name: base64.b64decode(value).decode() for name, value in json.loads(made)["data"].items()}
    credentials = StoreCredentials.model_validate_json(secret[names.STORAGE_CREDENTIALS_KEY])
    assert (credentials.access_key, credentials.secret_key) == (secret["accessKey"], secret["secretKey"])
    assert len(credentials.secret_key) == 40


async def test_a_restart_with_the_key_at_hand_asks_for_nothing(kubectl: Kubectl, bare: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "credentials.json"
    mounted.write_text("{}")
    settings = Settings(
        store_generated_secret="kinema-mounted", pod_namespace=ELSEWHERE, store_credentials_file=mounted
    )
    await store_key.ensure(await Connection.load(bare, "kinema-operator"), settings)
    assert kubectl("get", "secret", "kinema-mounted", "-n", ELSEWHERE, "--ignore-not-found") == ""


def test_rendering_and_applying_again_keeps_the_stores_key(
    helm: Helm, kubectl: Kubectl, bare: Path, tmp_path: Path
) -> None:
    kubectl("create", "namespace", "rendered")
    there = Kubectl(bare, "rendered")
    there("create", "secret", "generic", "kinema-store", "--from-literal=secretKey=in-use")
    values = ("kinema", str(CHART), "-n", "rendered", "--kube-version", "1.34.0", *TRIAL, *TENANT_VALUES)
    for _ in range(2):
        rendered = tmp_path / "rendered.yaml"
        rendered.write_text(helm("template", *values))
        there("apply", "-f", str(rendered))
        key = base64.b64decode(there.get("secret", "kinema-store")["data"]["secretKey"]).decode()
        assert key == "in-use", "the store runs with this key"


def test_an_upgrade_from_a_chart_that_rendered_the_key_keeps_it(helm: Helm, bare: Path, tmp_path: Path) -> None:
    older = tmp_path / "kinema"
    subprocess.run(["cp", "-r", str(CHART), str(older)], check=True)
    (older / "templates" / "store.yaml").write_text(RENDERED_KEY)
    namespace = "older"
    values = (*TRIAL, *TENANT_VALUES)
    helm("install", "kinema", str(older), "-n", namespace, "--create-namespace", *values)
    for _ in range(2):
        helm.upgrade(namespace, *values)
        kept = Kubectl(bare, namespace).get("secret", "kinema-store")["data"]
        assert base64.b64decode(kept["secretKey"]).decode() == "rendered-once"


RENDERED_KEY = """
apiVersion: v1
kind: Secret
metadata: {name: kinema-store, namespace: {{ .Release.Namespace }}}
stringData: {accessKey: kinema, secretKey: rendered-once, credentials.json: "{}"}
"""


async def test_an_upgrade_keeps_generated_keys_and_changes_no_pod(helm: Helm, kubectl: Kubectl, bare: Path) -> None:
    await _operator_makes_the_key(bare, SYSTEM)

    def seen() -> tuple[Any, ...]:
        keys = kubectl.get("secret", "kinema-store")["data"]
        template = kubectl.get("deployment", "minio")["spec"]["template"]
        return keys, template

    before = seen()
    helm.upgrade(SYSTEM, *TRIAL, "--set", "replicas=3")
    assert seen() == before
    assert kubectl.get("deployment", "kinema-operator")["spec"]["replicas"] == 3


def test_crds_upgrade_with_the_chart_and_survive_its_uninstallation(
    helm: Helm, kubectl: Kubectl, bare: Path, tmp_path: Path
) -> None:
    older = tmp_path / "kinema"
    subprocess.run(["cp", "-r", str(CHART), str(older)], check=True)
    file = older / "templates" / "crds" / "videogenerations.yaml"
    file.write_text(file.read_text().replace("maximum: 60\n", "maximum: 30\n"))
    crd = ("get", "crd", "videogenerations.kinema.dev", "-o", "json")
    helm("upgrade", "kinema", str(older), "-n", SYSTEM, *TRIAL)
    assert _longest_clip(json.loads(kubectl(*crd))) == 30
    helm.upgrade(SYSTEM, *TRIAL)
    assert _longest_clip(json.loads(kubectl(*crd))) == 60

    sample = CHART.parents[1] / "manifests" / "samples" / "generation.yaml"
    kubectl("apply", "-f", str(sample))
    helm("uninstall", "kinema", "-n", SYSTEM)
    assert "red-square" in kubectl("get", "vgen", "-o", "name")
    helm.upgrade(SYSTEM, *TRIAL)
    assert "red-square" in kubectl("get", "vgen", "-o", "name")


def _longest_clip(crd: dict[str, Any]) -> int:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return int(schema["properties"]["spec"]["properties"]["seconds"]["maximum"])

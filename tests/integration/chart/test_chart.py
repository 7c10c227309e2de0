"""The chart as Helm renders it, read as YAML: the operator, its rights, the store, in each way of installing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.pki import Pki
from integration.chart.rendered import (
    CLUSTER_SCOPED,
    NAMESPACE,
    S3,
    TENANT,
    TRIAL,
    Render,
    environment,
    names_of,
    one,
)
from integration.helm import CHART
from kinema_api import links, names
from kinema_api.objectstore import StoreCredentials
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import SECRETS_ROLE
from kinema_operator.manifests import admission_policy, rbac


def test_lint(helm: str) -> None:
    done = subprocess.run([helm, "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_default_install_watches_everything(render: Render) -> None:
    objects = render()
    wanted = [*rbac.OPERATOR_RULES, *rbac.NODE_RULES, *rbac.LOST_POD_RULES]
    assert one(objects, "ClusterRole")["rules"] == wanted
    assert one(objects, "ClusterRole", SECRETS_ROLE)["rules"] == list(rbac.SECRETS_RULES)
    assert SECRETS_ROLE not in names_of(objects, "ClusterRoleBinding") | names_of(objects, "RoleBinding")
    policy = one(objects, "ValidatingAdmissionPolicy")["spec"]
    assert policy == admission_policy.manifests()[0]["spec"]
    assert one(objects, "ClusterRoleBinding")["subjects"] == [
        {"kind": "ServiceAccount", "name": rbac.SERVICE_ACCOUNT, "namespace": NAMESPACE}
    ]
    assert one(objects, "Role", "kinema-operator-own")["rules"] == list(rbac.OWN_RULES)
    assert {"kinema-view", "kinema-edit", "kinema-admin"} <= names_of(objects, "ClusterRole")
    assert len(names_of(objects, "CustomResourceDefinition")) == 3
    assert "KINEMA_WATCH_NAMESPACE" not in environment(objects)
    assert not names_of(objects, "Secret"), "no store, no keys"
    assert "minio" not in names_of(objects, "Deployment")


def test_crds_are_kept_when_the_chart_is_uninstalled(render: Render) -> None:
    for object_ in render():
        if object_["kind"] == "CustomResourceDefinition":
            assert object_["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_tenant_installs_without_any_right_on_the_cluster(render: Render) -> None:
    objects = render(TENANT, "team-a")
    assert not {o["kind"] for o in objects} & CLUSTER_SCOPED
    assert {o["metadata"]["namespace"] for o in objects} == {"team-a"}
    assert one(objects, "Role")["rules"] == [*rbac.OPERATOR_RULES, *rbac.SECRETS_RULES]
    assert environment(objects)["KINEMA_WATCH_NAMESPACE"] == "team-a"
    peers = one(objects, "NetworkPolicy")["spec"]["egress"][2]["to"]
    assert peers[0]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}}


def test_secrets_are_read_where_the_values_say(render: Render) -> None:
    objects = render({"secrets": {"namespaces": ["team-a", "team-b"]}})
    bindings = [o for o in objects if o["kind"] == "RoleBinding" and o["metadata"]["name"] == SECRETS_ROLE]
    assert [b["metadata"]["namespace"] for b in bindings] == ["team-a", "team-b"]
    everywhere = render({"secrets": {"clusterWide": True}})
    assert one(everywhere, "ClusterRoleBinding", SECRETS_ROLE)["roleRef"]["name"] == SECRETS_ROLE


def test_a_namespaced_operator_may_watch_another_namespace(render: Render) -> None:
    objects = render({**TENANT, "watchNamespace": "videos"}, "team-a")
    assert one(objects, "Role")["metadata"]["namespace"] == "videos"
    binding = one(objects, "RoleBinding")
    assert binding["metadata"]["namespace"] == "videos"
    assert binding["subjects"][0]["namespace"] == "team-a"
    assert one(objects, "Role", "kinema-operator-own")["metadata"]["namespace"] == "team-a"


def test_two_renders_give_the_same_objects(render: Render) -> None:
    assert render(TRIAL) == render(TRIAL), "a key that changes with every render locks the operator out of its store"


def test_rights_on_nodes_in_one_namespace_are_an_administrators_choice(render: Render) -> None:
    assert not [o for o in render(TENANT, "team-a") if o["kind"].startswith("ClusterRole")]
    objects = render({**TENANT, "nodes": {"watch": True}}, "team-a")
    assert one(objects, "ClusterRole", "kinema-operator-nodes-team-a")["rules"] == list(rbac.NODE_RULES)
    assert set(map(str, rbac.LOST_POD_RULES)) <= set(map(str, one(objects, "Role")["rules"]))


def test_any_s3_by_a_secret(render: Render) -> None:
    objects = render(S3)
    found = environment(objects)
    assert found["KINEMA_STORE_ENDPOINT"] == "https://s3.example.com"
    assert found["KINEMA_STORE_BUCKET"] == "videos"
    assert found["KINEMA_STORE_REGION"] == "eu-west-1"
    assert not names_of(objects, "Secret")
    volume = one(objects, "Deployment")["spec"]["template"]["spec"]["volumes"][1]["secret"]
    assert (volume["secretName"], volume["optional"]) == ("s3", True)
    assert one(objects, "NetworkPolicy")["spec"]["egress"][3] == {"ports": [{"protocol": "TCP", "port": 443}]}


@pytest.mark.parametrize(
    ("endpoint", "port"), [("http://s3", 80), ("https://s3", 443), ("http://s3:9000", 9000), ("https://s3:8443", 8443)]
)
def test_the_operator_reaches_its_store_and_no_other_port(endpoint: str, port: int, render: Render) -> None:
    egress = one(render({"store": {"endpoint": endpoint}}), "NetworkPolicy")["spec"]["egress"]
    assert egress[3]["ports"] == [{"protocol": "TCP", "port": port}]


def test_the_trial_store(render: Render) -> None:
    objects = render(TRIAL)
    assert environment(objects)["KINEMA_STORE_ENDPOINT"] == f"http://minio.{NAMESPACE}.svc:9000"
    assert environment(objects)["KINEMA_STORE_PUBLIC_ENDPOINT"] == "http://192.0.2.1:30900"
    assert one(objects, "Service", "minio-public")["spec"]["ports"][0]["nodePort"] == 30900
    assert not names_of(objects, "Secret")
    assert environment(objects)["KINEMA_STORE_GENERATED_SECRET"] == "kinema-store", "the operator makes the key"
    selector = one(objects, "Service", "minio")["spec"]["selector"]
    template = one(objects, "Deployment", "minio")["spec"]["template"]
    assert selector.items() <= template["metadata"]["labels"].items()
    assert template["spec"]["initContainers"][0]["args"] == ["/data/kinema"]


def test_given_keys_are_used(render: Render) -> None:
    objects = render({"store": {"endpoint": "http://s3", "accessKey": "user", "secretKey": 'pass"word\\'}})
    secret = one(objects, "Secret", "kinema-store")["stringData"]
    assert StoreCredentials.model_validate_json(secret["credentials.json"]).secret_key == 'pass"word\\'


def test_the_trial_store_can_keep_its_data(render: Render) -> None:
    objects = render({"minio": {"enabled": True, "persistence": {"enabled": True, "storageClassName": "fast"}}})
    claim = one(objects, "PersistentVolumeClaim", "minio")
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    volume = one(objects, "Deployment", "minio")["spec"]["template"]["spec"]["volumes"][0]
    assert volume["persistentVolumeClaim"] == {"claimName": "minio"}


@pytest.mark.parametrize("values", [{}, TENANT, TRIAL, S3], ids=["default", "tenant", "trial", "s3"])
def test_every_pod_meets_the_restricted_standard(values: dict[str, Any], render: Render) -> None:
    for deployment in (o for o in render(values) if o["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPath" in volume for volume in pod["volumes"])
        assert pod["automountServiceAccountToken"] is (deployment["metadata"]["name"] == "kinema-operator")
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]


def test_the_operators_pod(render: Render) -> None:
    objects = render()
    deployment = one(objects, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    container = deployment["template"]["spec"]["containers"][0]
    settings = Settings.model_fields
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {name: settings[f"{name}_port"].default for name in ("health", "metrics", "links")}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}
    assert deployment["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])
    labels = deployment["template"]["metadata"]["labels"]
    assert labels[names.LABEL_NAME] == "kinema", "policies around servers find the operator by this label"
    assert labels[names.LABEL_COMPONENT] == names.COMPONENT_OPERATOR


def test_the_operators_network_policy_names_the_ports_of_its_pods(render: Render) -> None:
    policy = one(render(), "NetworkPolicy")["spec"]
    to_pods = policy["egress"][2]
    assert {port["port"] for port in to_pods["ports"]} == {names.PROGRESS_PORT, names.SERVER_PORT}
    assert to_pods["to"][0]["podSelector"] == {"matchLabels": {names.LABEL_MANAGED_BY: "kinema-operator"}}
    assert {port["port"] for port in policy["ingress"][0]["ports"]} == {8080, 9600, 8081}


def test_everybody_may_ask_for_addresses_through_the_api_server_and_for_nothing_else(render: Render) -> None:
    objects = render()
    service = one(objects, "Service")["spec"]
    port = {"name": links.PORT_NAME, "port": 8081, "targetPort": "links", "protocol": "TCP"}
    assert service["ports"] == [port], "the right names this one port"
    assert "publishNotReadyAddresses" not in service, "a replica that is not ready is not asked"
    assert one(objects, "Role", rbac.LINKS_ROLE)["rules"] == list(rbac.LINKS_RULES)
    assert [subject["name"] for subject in one(objects, "RoleBinding", rbac.LINKS_ROLE)["subjects"]] == [
        rbac.KNOWN_GROUP
    ]
    assert rbac.LINKS_ROLE not in names_of(render({"links": {"proxy": False}}), "Role")


@pytest.mark.parametrize(
    ("values", "signs", "in_status"),
    [
        ({}, True, "false"),
        ({"links": {"inStatus": True}}, True, "true"),
        ({"links": {"enabled": False}}, False, "true"),
        ({"links": {"enabled": False, "inStatus": False}}, False, "false"),
        (TENANT, False, "true"),
        ({**TENANT, "links": {"reviews": True}}, True, "false"),
        ({**TENANT, "metrics": {"authentication": True}}, True, "false"),
    ],
)
def test_there_is_always_a_way_to_a_clip_unless_the_values_say_so(
    values: dict[str, Any], signs: bool, in_status: str, render: Render
) -> None:
    objects = render(values)
    assert environment(objects).get("KINEMA_LINKS") == (None if signs else "false")
    assert environment(objects)["KINEMA_STATUS_URLS"] == in_status
    assert ("kinema-operator" in names_of(objects, "Service")) == signs
    assert (rbac.LINKS_ROLE in names_of(objects, "Role")) == signs
    bound = [o for o in objects if o["kind"] == "ClusterRoleBinding" and o["roleRef"]["name"] == rbac.REVIEW_ROLE]
    assert bool(bound) or not signs, "who asks cannot be known without this right"


@pytest.mark.parametrize("values", [{}, TENANT, TRIAL, S3], ids=["default", "tenant", "trial", "s3"])
def test_the_environment_is_settings_of_the_operator(values: dict[str, Any], render: Render) -> None:
    prefix = Settings.model_config["env_prefix"]
    known = {f"{prefix}{name}".upper() for name in Settings.model_fields}
    assert set(environment(render(values))) <= known


def test_any_setting_can_be_given(render: Render) -> None:
    objects = render({"settings": {"KINEMA_STALL_FACTOR": "9", "KINEMA_STORE_REGION": "mars"}, **TRIAL})
    assert environment(objects)["KINEMA_STALL_FACTOR"] == "9"
    assert environment(objects)["KINEMA_STORE_REGION"] == "mars"


def test_workers(render: Render) -> None:
    objects = render({"worker": {"image": "example.com/w:1", "runtimeClassName": "gpu", "cpuThreads": 4}})
    found = environment(objects)
    assert found["KINEMA_WORKER_IMAGE"] == "example.com/w:1"
    assert found["KINEMA_WORKER_RUNTIME_CLASS"] == "gpu"
    assert found["KINEMA_WORKER_CPU_THREADS"] == "4"


def test_registry_credentials_reach_every_pod(render: Render) -> None:
    objects = render({"image": {"pullSecrets": ["registry"]}, **TRIAL})
    for deployment in (one(objects, "Deployment"), one(objects, "Deployment", "minio")):
        assert deployment["spec"]["template"]["spec"].get("imagePullSecrets") == [{"name": "registry"}]
    assert environment(objects).get("KINEMA_IMAGE_PULL_SECRETS") == '["registry"]', "worker pods get them too"


@pytest.mark.parametrize(
    ("value", "setting"), [(None, "random"), ("platform", "platform"), (1_000_640_000, "1000640000")]
)
def test_who_chooses_the_user_of_worker_pods(value: str | int | None, setting: str, render: Render) -> None:
    objects = render({"worker": {"runAsUser": value}} if value else {})
    assert environment(objects)["KINEMA_WORKER_USER"] == setting


def test_the_authority_of_the_store_reaches_the_operator(render: Render, tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.ensure_authority()
    bundle = f"# Of the store\n{pki.certificate('ca').read_text()}"
    objects = render({"store": {**S3["store"], "caBundle": bundle}})
    assert environment(objects)["KINEMA_STORE_CA_BUNDLE"] == bundle
    assert "KINEMA_STORE_CA_BUNDLE" not in environment(render(S3))


def test_the_way_to_the_api_server_can_be_narrowed(render: Render) -> None:
    objects = render({"networkPolicy": {"apiServerCIDRs": ["10.96.0.1/32", "192.0.2.10/32"]}})
    to_api_server = one(objects, "NetworkPolicy")["spec"]["egress"][1]
    assert to_api_server["to"] == [{"ipBlock": {"cidr": "10.96.0.1/32"}}, {"ipBlock": {"cidr": "192.0.2.10/32"}}]


def test_authentication_of_metrics(render: Render) -> None:
    binding = one(render(), "ClusterRoleBinding", "kinema-operator-reviews")
    assert binding["roleRef"]["name"] == rbac.REVIEW_ROLE
    objects = render({"metrics": {"authentication": True}, **TENANT}, "team-a")
    assert environment(objects)["KINEMA_METRICS_AUTHENTICATION"] == "true"
    reader = one(objects, "ClusterRole", "kinema-metrics-reader-team-a")
    assert reader["rules"] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]


def test_pod_monitors_on_request(render: Render) -> None:
    assert not names_of(render(), "PodMonitor")
    objects = render({"metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}})
    workers = one(objects, "PodMonitor", "kinema-workers")
    assert workers["metadata"]["labels"]["release"] == "prometheus"
    ports = {endpoint["portNumber"] for endpoint in workers["spec"]["podMetricsEndpoints"]}
    assert ports == {names.PROGRESS_PORT, names.SERVER_METRICS_PORT}

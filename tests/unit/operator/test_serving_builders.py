"""What a model's servers are made of: restricted pods that only the operator reaches and that reach only the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kinema_api import launch, names
from kinema_api.serving import VideoModel
from kinema_operator.core import egress, pods
from kinema_operator.core.settings import Settings
from kinema_operator.serving.objects import deployment
from kinema_operator.serving.objects.deployment import server_deployment
from kinema_operator.serving.objects.network_policy import server_network_policy
from kinema_operator.serving.objects.service import server_service

DIGEST = "sha256:" + "ab" * 32
SETTINGS = Settings(pod_namespace="kinema-system", worker_image="registry.example/worker:1")


def model(name: str = "tiny", **serving: Any) -> VideoModel:
    return VideoModel.parse(
        {
            "metadata": {"name": name, "namespace": "studio", "uid": "uid-1"},
            "spec": {"source": {"digest": DIGEST}, "serving": serving},
        }
    )


def pod_spec(settings: Settings = SETTINGS, **serving: Any) -> dict[str, Any]:
    return dict(server_deployment(model(**serving), DIGEST, 1, settings)["spec"]["template"]["spec"])


def test_pods_satisfy_the_restricted_standard() -> None:
    spec = pod_spec()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & spec.keys()
    assert {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}} == {"emptyDir"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "envFrom" not in container
        assert all("valueFrom" not in variable for variable in container["env"])
        assert all("hostPort" not in port for port in container["ports"])


def test_a_pod_can_write_to_tmp_and_shared_memory_only() -> None:
    spec = pod_spec()
    mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts.keys() == {"/tmp", "/dev/shm"}
    volumes = {volume["name"]: volume["emptyDir"] for volume in spec["volumes"]}
    assert volumes[mounts["/dev/shm"]]["medium"] == "Memory"
    assert "medium" not in volumes[mounts["/tmp"]]


def test_users_are_high_stable_and_differ_by_owner() -> None:
    users = {pods.random_user(f"uid-{number}") for number in range(500)}
    assert len(users) == 500
    assert all(1_000_000_000 <= user < 2**31 for user in users)
    assert pods.random_user("uid-1") == pod_spec()["securityContext"]["runAsUser"]


def test_a_server_is_told_its_digest_and_nothing_else() -> None:
    container = pod_spec()["containers"][0]
    assert container["command"] == ["python", "-m", "kinema_jobs.serve"]
    assert container["args"] == ["--digest", DIGEST, "--port", "8500", "--metrics-port", "8501"]
    assert container["image"] == "registry.example/worker:1"
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize("order_key", ["", "key"])
def test_argv_and_env_are_those_of_the_appdef(order_key: str) -> None:
    settings = SETTINGS.model_copy(update={"expansion_url": "http://llm:8000/v1", "expansion_model": "writer"})
    grace = settings.server_termination_grace_seconds - deployment.SPARE_SECONDS
    site = launch.ServerSite(
        image=settings.worker_image,
        grace_seconds=grace,
        expansion_url="http://llm:8000/v1",
        expansion_model="writer",
        order_key=order_key,
    )
    (role,) = launch.server_app("tiny", DIGEST, site).roles
    spec = server_deployment(model(), DIGEST, 1, settings, order_key)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert (container["name"], container["image"]) == (role.name, role.image)
    assert [*container["command"], *container["args"]] == [role.entrypoint, *role.args]
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert {name: env[name] for name in role.env} == role.env
    own = set(deployment.POD_ENV) - (set() if order_key else {names.ENV_POD_UID})
    assert env.keys() - role.env.keys() == own
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == role.port_map


def test_an_upgrade_of_the_operator_replaces_no_server() -> None:
    """A template that differs, be it in the order of a list, does."""
    settings = SETTINGS.model_copy(
        update={"expansion_url": "http://llm.models.svc:8000/v1", "expansion_model": "writer"}
    )
    serving = {"resources": {"limits": {"nvidia.com/gpu": 1}}, "nodeSelector": {"pool": "gpu"}}
    made = server_deployment(model(**serving), DIGEST, 1, settings, "key")["spec"]["template"]
    assert made == yaml.safe_load((Path(__file__).parent / "server_template.yaml").read_text())


def test_a_gpu_brings_its_toleration_and_the_selector_is_kept() -> None:
    assert "nvidia.com/gpu" not in {toleration["key"] for toleration in pod_spec()["tolerations"]}
    resources = {"limits": {"nvidia.com/gpu": 1}, "requests": {"cpu": "500m"}}
    spec = pod_spec(resources=resources, nodeSelector={"kinema.dev/pool": "gpu"})
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert spec["nodeSelector"] == {"kinema.dev/pool": "gpu"}
    assert spec["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "500m"}}


def test_a_server_on_a_lost_node_is_deleted_soon_enough_to_be_replaced_within_30_s() -> None:
    seconds = {t["key"]: t["tolerationSeconds"] for t in pod_spec().get("tolerations", ()) if "tolerationSeconds" in t}
    assert seconds.keys() == {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}
    # Shorter than a kubelet's way back after an absence of the API server, it would cost every server at once.
    assert all(10 < value <= 20 for value in seconds.values())


def test_the_runtime_class_is_set_only_where_the_cluster_needs_one() -> None:
    assert "runtimeClassName" not in pod_spec()
    assert pod_spec(SETTINGS.model_copy(update={"worker_runtime_class": "host"}))["runtimeClassName"] == "host"


def test_names_and_selectors_agree_and_fit_a_label() -> None:
    longest = model("m" * names.MAX_NAME_LENGTH)
    deployment = server_deployment(longest, DIGEST, 3, SETTINGS)
    service = server_service(longest, DIGEST)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["metadata"]["name"] == service["metadata"]["name"]
    assert len(deployment["metadata"]["name"]) <= 63
    assert all(len(value) <= 63 for value in labels.values())
    assert deployment["spec"]["replicas"] == 3
    for manifest in (deployment, service, server_network_policy(longest, [], SETTINGS)):
        (owner,) = manifest["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("VideoModel", "uid-1", True)
        assert manifest["metadata"]["labels"][names.LABEL_MANAGED_BY] == "kinema-operator"


def test_orders_come_from_the_operator_alone() -> None:
    policy = server_network_policy(model(), ["http://minio.kinema-system.svc:9000"], SETTINGS)["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    orders, metrics = policy["ingress"]
    assert orders["ports"] == [{"protocol": "TCP", "port": names.SERVER_PORT}]
    assert metrics["ports"] == [{"protocol": "TCP", "port": names.SERVER_METRICS_PORT}]
    (operator,), (monitoring,) = orders["from"], metrics["from"]
    assert operator["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kinema-system"}
    assert operator["podSelector"]["matchLabels"] == {names.LABEL_COMPONENT: "operator"}
    assert monitoring == {"namespaceSelector": {"matchLabels": {"kinema.dev/monitoring": "true"}}}


def test_servers_reach_names_and_the_store_alone() -> None:
    dns, store = server_network_policy(model(), ["http://minio.kinema-system.svc:9000"], SETTINGS)["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert store["ports"] == [{"protocol": "TCP", "port": 9000}]
    assert store["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kinema-system"}}}]


def test_a_language_model_is_named_to_servers_and_within_their_reach() -> None:
    settings = Settings(expansion_url="http://llm.models.svc:8000/v1", expansion_model="writer")
    (container,) = server_deployment(model(), DIGEST, 1, settings)["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["KINEMA_EXPANSION_URL"] == "http://llm.models.svc:8000/v1"
    assert environment["KINEMA_EXPANSION_MODEL"] == "writer"
    _, writer, _ = server_network_policy(model(), ["http://minio.kinema-system.svc:9000"], settings)["spec"]["egress"]
    assert writer["ports"] == [{"protocol": "TCP", "port": 8000}]
    assert writer["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}]
    with pytest.raises(ValueError, match="KINEMA_EXPANSION_MODEL is needed"):
        Settings(expansion_url="http://llm.models.svc:8000/v1")


@pytest.mark.parametrize(
    ("endpoint", "port", "to"),
    [
        ("https://s3.example.com", 443, None),
        ("http://10.1.2.3:9000", 9000, [{"ipBlock": {"cidr": "10.1.2.3/32"}}]),
        ("http://[fd00::1]:9000", 9000, [{"ipBlock": {"cidr": "fd00::1/128"}}]),
        (
            "http://minio.store.svc.cluster.local",
            80,
            [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "store"}}}],
        ),
    ],
)
def test_store_egress_is_as_narrow_as_the_endpoint_allows(endpoint: str, port: int, to: Any) -> None:
    rule = egress.store_egress(endpoint)
    assert rule["ports"] == [{"protocol": "TCP", "port": port}]
    assert rule.get("to") == to

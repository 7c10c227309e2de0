"""Every object of a training: restricted pods, one truth for argv and env, policies that let through what is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kinema_api import launch, names
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.run import RunConfig
from kinema_api.training import VideoModelTraining
from kinema_api.wire import EXIT_CODES
from kinema_operator.core import pods
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.training import children
from kinema_operator.training.objects import network_policy, pod, secret, service, video_model
from kinema_operator.training.objects import rendezvous_pod as store_pod
from kinema_operator.training.objects.job import job

RUNNING = {"run": 2, "attempt": 3, "resumeFrom": "s3://kinema/trainings/team/tiny-world/7a1f/run-002/x/"}


def made(training: VideoModelTraining, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    config, app = children.describe_attempt(training, store_location(None, settings), settings)
    return job(training, app, config, 2, settings), store_pod.store_pod(
        training, app, config, settings, store_pod.Making()
    )


def pod_specs(training: VideoModelTraining, settings: Settings) -> list[dict[str, Any]]:
    trainers, store = made(training, settings)
    return [trainers["spec"]["template"]["spec"], store["spec"]]


def test_pods_meet_the_restricted_standard(make_training: Any, settings: Settings) -> None:
    for spec in pod_specs(make_training(RUNNING), settings):
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 1_000_000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {volume["name"] for volume in spec["volumes"] if "hostPath" in volume} == set()
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert "emptyDir" in volumes[mounts["/tmp"]]
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"


def test_a_short_absence_of_its_nodes_heartbeat_evicts_no_pod_of_a_training(
    make_training: Any, settings: Settings
) -> None:
    for spec in pod_specs(make_training(RUNNING), settings):
        seconds = {t["key"]: t["tolerationSeconds"] for t in spec["tolerations"] if "tolerationSeconds" in t}
        assert seconds.keys() == {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}
        # An absence of 145 s was seen to cost a healthy trainer and its rendezvous.
        assert min(seconds.values()) >= 300


def test_the_rendezvous_fits_any_node_whatever_its_workers_select(make_training: Any, settings: Settings) -> None:
    worker = {"resources": {"limits": {"nvidia.com/gpu": 1}}, "nodeSelector": {"gpu": "h100"}}
    trainer, store = pod_specs(make_training(RUNNING, worker=worker), settings)
    taint = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert taint in trainer["tolerations"]
    assert "gpu" not in store.get("nodeSelector", {}) or taint in store["tolerations"]
    # A cluster may consist of GPU nodes alone.
    assert taint in store["tolerations"]
    assert "gpu" not in store.get("nodeSelector", {})
    arm = {"nodeSelector": {"kubernetes.io/arch": "arm64", "pool": "a"}}
    _, store = pod_specs(make_training(RUNNING, worker=arm), settings)
    assert store["nodeSelector"] == {"kubernetes.io/arch": "arm64"}


def test_only_trainers_get_storage_credentials(make_training: Any, settings: Settings) -> None:
    trainer, store = pod_specs(make_training(RUNNING), settings)
    mounts = {m["mountPath"]: m for m in trainer["containers"][0]["volumeMounts"]}
    assert mounts[names.STORAGE_SECRET_DIR]["readOnly"] is True
    assert {"name": "storage", "secret": {"secretName": "tiny-world-storage", "defaultMode": 0o440}} in trainer[
        "volumes"
    ]
    assert "secret" not in json.dumps(store)


def test_argv_and_env_are_those_of_the_appdef(make_training: Any, settings: Settings) -> None:
    training = make_training(RUNNING)
    _, app = children.describe_attempt(training, store_location(None, settings), settings)
    roles = {role.name: role for role in app.roles}
    for spec, role in zip(
        pod_specs(training, settings), (roles[launch.TRAINER_ROLE], roles[launch.STORE_ROLE]), strict=True
    ):
        container = spec["containers"][0]
        assert [*container["command"], *container["args"]] == [role.entrypoint, *role.args]
        env = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert {name: env[name] for name in role.env} == role.env
        assert env.keys() - role.env.keys() == set(pod.POD_ENV)
        assert env["OMP_NUM_THREADS"] == "1"


def test_what_kubernetes_would_expand_is_escaped() -> None:
    assert pods.literal('{"a": "$(HOME)", "b": "$$(X)"}') == '{"a": "$$(HOME)", "b": "$$$$(X)"}'


def test_the_job_resumes_where_the_status_says(make_training: Any, settings: Settings) -> None:
    manifest, _ = made(make_training(RUNNING), settings)
    args = manifest["spec"]["template"]["spec"]["containers"][0]["args"]
    config = RunConfig.model_validate_json(args[args.index("--config") + 1])
    assert (config.run, config.attempt) == (2, 3)
    assert config.resume_from == "trainings/team/tiny-world/7a1f/run-002/x/"


def test_the_job_is_elastic_and_fails_by_class(make_training: Any, settings: Settings) -> None:
    manifest, _ = made(make_training(RUNNING), settings)
    spec = manifest["spec"]
    assert (spec["completionMode"], spec["parallelism"], spec["completions"]) == ("Indexed", 2, 2)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    ignore, fail = spec["podFailurePolicy"]["rules"]
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert fail["action"] == "FailJob"
    deadly = {EXIT_CODES[name] for name in ("user_error", "hardware", "out_of_memory", "numerics", "stall")}
    assert set(fail["onExitCodes"]["values"]) == deadly
    assert fail["onExitCodes"]["containerName"] == spec["template"]["spec"]["containers"][0]["name"]


def test_names_and_labels_bind_the_objects_together(make_training: Any, settings: Settings) -> None:
    training = make_training(RUNNING)
    trainers, store = made(training, settings)
    front = service.rendezvous_service("team")
    template = trainers["spec"]["template"]
    assert front["spec"]["selector"].items() <= store["metadata"]["labels"].items()
    assert front["metadata"]["name"] == store["spec"]["subdomain"]
    assert front["spec"]["clusterIP"] == "None"
    env = {e["name"]: e.get("value") for e in template["spec"]["containers"][0]["env"]}
    assert env[launch.ENV_RENDEZVOUS] == f"{store['spec']['hostname']}.{front['metadata']['name']}:29400"
    for obj in (trainers, store):
        (owner,) = obj["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("7a1f", True, True)
    for obj in (trainers, store, front):
        assert obj["metadata"]["labels"][names.LABEL_MANAGED_BY] == "kinema-operator"
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9400",
        "prometheus.io/path": "/metrics",
    }


def test_the_longest_names_stay_within_a_dns_label(make_training: Any, settings: Settings) -> None:
    training = make_training({"run": 999, "attempt": 999}, name="n" * names.MAX_NAME_LENGTH)
    trainers, store = made(training, settings)
    assert len(trainers["metadata"]["name"]) + len("-63-abcde") <= 63
    assert len(store["metadata"]["name"]) <= 63


def test_a_worker_that_wants_a_gpu_goes_where_one_is(make_training: Any, settings: Settings) -> None:
    worker = {"resources": {"limits": {"nvidia.com/gpu": 1}}, "nodeSelector": {"gpu": "h100"}}
    trainer, _ = pod_specs(make_training(RUNNING, worker=worker), settings)
    resources = trainer["containers"][0]["resources"]
    assert resources["limits"] == {"nvidia.com/gpu": "1"}
    assert resources["requests"]["cpu"] == "100m"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in trainer["tolerations"]
    assert trainer["nodeSelector"] == {"gpu": "h100"}
    plain, _ = pod_specs(make_training(RUNNING), settings)
    assert "nvidia.com/gpu" not in json.dumps(plain)


def test_an_extended_resource_that_is_only_requested_is_limited_too(make_training: Any, settings: Settings) -> None:
    worker = {"resources": {"requests": {"nvidia.com/gpu": 2, "cpu": "2"}}}
    trainer, _ = pod_specs(make_training(RUNNING, worker=worker), settings)
    assert trainer["containers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "256Mi", "nvidia.com/gpu": "2"},
        "limits": {"nvidia.com/gpu": "2"},
    }


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (
            "http://minio.kinema-system.svc:9000",
            {
                "ports": [{"port": 9000, "protocol": "TCP"}],
                "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kinema-system"}}}],
            },
        ),
        (
            "http://10.1.2.3:9000",
            {"ports": [{"port": 9000, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]},
        ),
        ("https://s3.example.org", {"ports": [{"port": 443, "protocol": "TCP"}]}),
    ],
)
def test_pods_reach_each_other_dns_and_the_store(settings: Settings, endpoint: str, expected: dict[str, Any]) -> None:
    settings = settings.model_copy(update={"allowed_stores": ("http://10.1.2.3:9000", "https://s3.example.org")})
    spec = network_policy.network_policy("team", [endpoint], settings)["spec"]
    own = {"podSelector": {"matchExpressions": [{"key": names.LABEL_TRAINING, "operator": "Exists"}]}}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["podSelector"] == own["podSelector"]
    peers, dns, store = spec["egress"]
    assert peers == {"to": [own]}
    assert {(p["protocol"], p["port"]) for p in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert store == expected
    inside, watchers = spec["ingress"]
    assert inside == {"from": [own]}
    assert watchers["ports"] == [{"port": names.PROGRESS_PORT, "protocol": "TCP"}]
    assert all("namespaceSelector" in source for source in watchers["from"])


def test_the_secret_tells_its_expiry_without_being_decoded(make_training: Any) -> None:
    training = make_training(RUNNING)
    here = StoreLocation(endpoint="http://minio:9000", bucket="kinema")
    keys = StoreCredentials(access_key="a", secret_key="s3cret", session_token="t", expires=1_900_000_000)
    manifest = secret.storage_secret(training, here, keys)
    assert "s3cret" not in json.dumps(manifest)
    expires = secret.expiry(manifest, training, here)
    assert expires is not None
    assert expires.timestamp() == 1_900_000_000
    assert secret.expiry(None, training, here) is None
    assert secret.expiry(manifest, training, StoreLocation(endpoint="http://other:9000", bucket="kinema")) is None
    reborn = training.model_copy(update={"metadata": training.metadata.model_copy(update={"uid": "other"})})
    assert secret.expiry(manifest, reborn, here) is None


def test_the_model_follows_the_training_and_outlives_it(make_training: Any) -> None:
    manifest = video_model.video_model(make_training(RUNNING), "tiny-world")
    assert manifest["spec"] == {"source": {"training": "tiny-world"}}
    assert "ownerReferences" not in manifest["metadata"]
    assert manifest["metadata"]["labels"][names.LABEL_TRAINING] == "tiny-world"


def test_a_store_whose_name_is_held_gets_the_next_one() -> None:
    assert store_pod.pod_name("s", ()) == "s"
    assert store_pod.pod_name("s", ("s",)) == "s-2"
    assert store_pod.pod_name("s", ("s", "s-2")) == "s-3"

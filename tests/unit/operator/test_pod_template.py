"""One builder puts a pod template into pods of all kinds, and never puts anything in the place of what is Kinema's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_api.pod_template import PodTemplate
from kinema_api.serving import VideoModel
from kinema_api.training import VideoModelTraining
from kinema_operator.core import pod_template
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.serving.objects.deployment import server_deployment
from kinema_operator.training import children
from kinema_operator.training.objects.evaluator import evaluation_job
from kinema_operator.training.objects.job import job
from kinema_operator.training.objects.publisher import publication_job
from kinema_operator.training.objects.rendezvous_pod import Making, store_pod
from kinema_operator.training.observed import ExportSeen
from pod_templates import TAKEN

Objects = dict[str, Any]
DIGEST = "sha256:" + "ab" * 32
SETTINGS = Settings(
    store_endpoint="http://minio.kinema-system.svc:9000",
    image_pull_secrets=("registry",),
    worker_runtime_class="sandbox",
)
LABELS = {
    "example.com/team": "video",
    "app.kubernetes.io/managed-by": "argo",
    "helm.sh/chart": "x-1",
    "kinema.dev/run": "9",
    "kueue.x-k8s.io/queue-name": "gpus",
    "job-name": "other",
}
GPU = {"resources": {"requests": {"cpu": 4}, "limits": {"nvidia.com/gpu": 2}}, "nodeSelector": {"pool": "gpu"}}
WHOLE: dict[str, Any] = {name: value for template in TAKEN for name, value in template.items()} | {
    "serviceAccountName": "trainers"
}
WORKERS = ("trainers", "evaluator", "servers")
HELPERS = ("rendezvous", "publisher")


def objects(worker: Objects, serving: Objects, labels: dict[str, str] | None = None) -> dict[str, Objects]:
    """One object of each kind that has pods."""
    spec = {"model": {"preset": "tiny"}, "data": {"world": {}}, "optimization": {"steps": 10}, "worker": worker}
    metadata = {"name": "tiny", "namespace": "team", "uid": "uid-1", "labels": labels or {}}
    status = {"run": 1, "attempt": 1, "excludedNodes": ["node-7"]}
    training = VideoModelTraining.parse({"metadata": metadata, "spec": spec, "status": status})
    model = VideoModel.parse({"metadata": metadata, "spec": {"source": {"digest": DIGEST}, "serving": serving}})
    place = store_location(None, SETTINGS)
    config, app = children.describe_attempt(training, place, SETTINGS)
    measuring, measurer = children.describe_evaluation(training, DIGEST, place, SETTINGS)
    publishing, publisher = children.describe_publication(training, ExportSeen(1, 1, digest=DIGEST), place, SETTINGS)
    return {
        "trainers": job(training, app, config, 2, SETTINGS),
        "rendezvous": store_pod(training, app, config, SETTINGS, Making()),
        "evaluator": evaluation_job(training, measurer, measuring, SETTINGS),
        "publisher": publication_job(training, publisher, publishing, SETTINGS),
        "servers": dict(server_deployment(model, DIGEST, 1, SETTINGS, "key")),
    }


def with_template(template: Objects, labels: dict[str, str] | None = None) -> dict[str, Objects]:
    servers = {name: value for name, value in template.items() if name != "serviceAccountName"}
    return objects({"podTemplate": template}, {"podTemplate": servers}, labels)


def pod(made: Objects) -> Objects:
    """The pod, or its template."""
    return made if made["kind"] == "Pod" else dict(made["spec"]["template"])


def test_trainers_without_a_template_are_made_as_before_there_were_templates() -> None:
    made = copy.deepcopy(pod(objects(GPU, GPU)["trainers"]))
    (container,) = made["spec"]["containers"]
    container["args"] = container["args"][:3]
    assert made == yaml.safe_load((Path(__file__).parent / "training" / "trainer_template.yaml").read_text())


@pytest.mark.parametrize("older", [{}, GPU])
def test_an_empty_template_is_none(older: Objects) -> None:
    assert objects({**older, "podTemplate": {}}, {**older, "podTemplate": {}}) == objects(older, older)


def test_resources_in_a_template_are_those_beside_it() -> None:
    beside, within = objects(GPU, GPU), with_template(GPU)
    for made in (beside, within):
        spec = pod(made["trainers"])["spec"]
        env = spec["containers"][0]["env"]
        spec["containers"][0]["env"] = [e for e in env if e["name"] != "KINEMA_TRAINER_DEVICES"]
    assert within == beside


@pytest.mark.parametrize("name", WORKERS)
def test_a_whole_template_reaches_the_pods(name: str) -> None:
    made = pod(with_template(WHOLE)[name])
    spec, (container,) = made["spec"], made["spec"]["containers"]
    assert made["metadata"]["labels"].items() >= {"example.com/team": "video", "team": ""}.items()
    assert made["metadata"]["annotations"].items() >= WHOLE["annotations"].items()
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("training", "nvidia")
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5, "operator": "Equal"} in spec[
        "tolerations"
    ]
    assert container["resources"]["limits"] == {"memory": "64Gi", "nvidia.com/gpu": "8"}
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert (env["NCCL_DEBUG"], env["http_proxy"]) == ("$$(HOME)", "")
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["shared-memory"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert volumes["custom-clips"]["persistentVolumeClaim"] == {"claimName": "c.1"}
    assert volumes["custom-scratch"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert volumes["custom-settings"]["configMap"] == {"name": "s", "optional": True}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/mnt/clips"] == {"name": "custom-clips", "mountPath": "/mnt/clips"}
    assert mounts["/home/x"]["readOnly"] is True
    assert spec.get("serviceAccountName") == ("trainers" if name == "trainers" else None)


def test_a_trainer_is_told_of_the_gpus_that_its_template_gives() -> None:
    def told(worker: Objects) -> list[str]:
        (container,) = pod(objects(worker, {})["trainers"])["spec"]["containers"]
        return [e["value"] for e in container["env"] if e["name"] == "KINEMA_TRAINER_DEVICES"]

    assert told({"podTemplate": GPU}) == ["2"]
    assert told({"podTemplate": {"resources": {"limits": {"amd.com/gpu": 4}}}}) == ["4"]
    assert told(GPU) == told({"podTemplate": {"env": [{"name": "A"}]}}) == []


@pytest.mark.parametrize("name", HELPERS)
def test_helpers_have_labels_tolerations_and_priority_and_no_more(name: str) -> None:
    plain, made = pod(objects({}, {})[name]), pod(with_template(WHOLE)[name])
    assert made["metadata"]["labels"]["team"] == ""
    assert made["metadata"]["annotations"]["example.com/owner"] == "somebody"
    assert made["spec"]["priorityClassName"] == "training"
    for field in ("volumes", "containers", "runtimeClassName", "securityContext"):
        assert made["spec"][field] == plain["spec"][field]
    assert not {"serviceAccountName", "affinity", "topologySpreadConstraints", "nodeSelector"} & made["spec"].keys()


def test_labels_flow_down_but_for_those_that_are_others() -> None:
    for name, made in with_template({"labels": {"example.com/team": "own", "x": "y"}}, LABELS).items():
        labels = pod(made)["metadata"]["labels"]
        assert (labels["example.com/team"], labels["x"]) == ("own", "y"), name
        assert labels["app.kubernetes.io/managed-by"] == "kinema-operator"
        assert not {"helm.sh/chart", "job-name", "kueue.x-k8s.io/queue-name"} & labels.keys()
        assert labels.get("kinema.dev/run") == (None if name == "servers" else "1")
        if made["kind"] != "Pod":
            whole = made["metadata"]["labels"]
            assert (whole["example.com/team"], whole["kueue.x-k8s.io/queue-name"]) == ("video", "gpus")
            assert "x" not in whole


def test_servers_without_a_template_keep_their_labels() -> None:
    assert objects({}, {}, LABELS)["servers"] == objects({}, {})["servers"]
    assert pod(objects({}, {}, LABELS)["trainers"])["metadata"]["labels"]["example.com/team"] == "video"


def test_nodes_that_a_run_avoids_are_avoided_in_each_alternative() -> None:
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]} for zone in ("eu-1", "eu-2")]
    wanted = {"nodeAffinity": {pod_template._REQUIRED: {"nodeSelectorTerms": terms}}}
    spec = pod(with_template({"affinity": wanted})["trainers"])["spec"]
    avoided = {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["node-7"]}]}
    assert spec["affinity"] == {
        "nodeAffinity": {pod_template._REQUIRED: {"nodeSelectorTerms": [{**avoided, **term} for term in terms]}}
    }


def test_a_constraint_for_hosts_takes_the_place_of_kinemas() -> None:
    zone = {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    host = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    for wanted, keys in (
        ([zone], ["kubernetes.io/hostname", "zone"]),
        ([host, zone], ["kubernetes.io/hostname", "zone"]),
    ):
        for name in ("trainers", "servers"):
            made = pod(with_template({"topologySpreadConstraints": wanted})[name])
            found = made["spec"]["topologySpreadConstraints"]
            assert [constraint["topologyKey"] for constraint in found] == keys
            assert found[0]["whenUnsatisfiable"] == ("DoNotSchedule" if host in wanted else "ScheduleAnyway")
            for constraint in found:
                assert constraint["labelSelector"]["matchLabels"].items() <= made["metadata"]["labels"].items()


def _of_any_name(*names: str) -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(names), st.text(max_size=20))


OWN_LABELS = ("kinema.dev/training", "app.kubernetes.io/component", "app.kubernetes.io/managed-by", "team")
# Past all validation, as if an older version had let it in: the builder relies on no rule of admission.
HOSTILE = st.fixed_dictionaries(
    {
        "labels": st.dictionaries(_of_any_name(*OWN_LABELS), st.text(max_size=9), max_size=4),
        "annotations": st.dictionaries(
            _of_any_name("prometheus.io/port", "kinema.dev/generation"), st.text(max_size=9)
        ),
        "env": st.lists(_of_any_name("KINEMA_RENDEZVOUS", "HOME", "PYTHONUNBUFFERED", "A"), max_size=5, unique=True),
        "volumes": st.lists(
            st.tuples(
                _of_any_name("scratch", "storage", "shared-memory", "x"),
                _of_any_name("/tmp", "/dev/shm", "/var/run/kinema/storage", "/mnt/x"),
            ),
            max_size=4,
            unique_by=(lambda v: v[0], lambda v: v[1]),
        ),
        "keys": st.lists(_of_any_name("node.kubernetes.io/unreachable", "x"), max_size=3),
    }
)


def unchecked(drawn: dict[str, Any]) -> PodTemplate:
    """A template that no rule has seen."""
    volumes = TAKEN[3]["volumes"]
    plain = PodTemplate.parse({"env": [{"name": "A"}], "volumes": volumes[:1], "tolerations": [{"operator": "Exists"}]})
    (variable,), (volume,), (toleration,) = plain.env, plain.volumes, plain.tolerations
    return plain.model_copy(
        update={
            "labels": drawn["labels"],
            "annotations": drawn["annotations"],
            "env": tuple(variable.model_copy(update={"name": name, "value": "theirs"}) for name in drawn["env"]),
            "volumes": tuple(
                volume.model_copy(update={"name": name, "mount_path": path}) for name, path in drawn["volumes"]
            ),
            "tolerations": tuple(toleration.model_copy(update={"key": key}) for key in drawn["keys"]),
        }
    )


@settings(max_examples=examples(200))
@given(drawn=HOSTILE, kind=st.sampled_from([*WORKERS, *HELPERS]))
def test_whatever_a_template_says_what_is_kinemas_stays(drawn: dict[str, Any], kind: str) -> None:
    own = pod(PLAIN[kind])
    template = unchecked(drawn)
    metadata = pod_template.merged_metadata(own["metadata"], template, drawn["labels"])
    for part in ("labels", "annotations"):
        assert metadata.get(part, {}).items() >= own["metadata"].get(part, {}).items()
    spec = pod_template.merged_spec(own["spec"], template, {})
    free = {"tolerations", "volumes", "containers", "imagePullSecrets", "nodeSelector", "affinity"}
    assert {k: v for k, v in spec.items() if k not in free} == {k: v for k, v in own["spec"].items() if k not in free}
    assert spec["tolerations"][: len(own["spec"]["tolerations"])] == own["spec"]["tolerations"]
    (mine,), (merged,) = own["spec"]["containers"], spec["containers"]
    assert {k: v for k, v in merged.items() if k not in ("env", "volumeMounts")} == {
        k: v for k, v in mine.items() if k not in ("env", "volumeMounts")
    }
    # Of two of one name or path the kubelet takes one: there are none.
    for field, key in (("env", "name"), ("volumeMounts", "mountPath")):
        assert merged[field][: len(mine[field])] == mine[field]
        assert len({entry[key] for entry in merged[field]}) == len(merged[field])
    own_paths = {mount["mountPath"] for mount in mine["volumeMounts"]}
    added = {mount["mountPath"] for mount in merged["volumeMounts"]} - own_paths
    assert not any(path.startswith(f"{above}/") for path in own_paths for above in added)
    assert len({volume["name"] for volume in spec["volumes"]}) == len(spec["volumes"])
    assert spec["volumes"][: len(own["spec"]["volumes"])] == own["spec"]["volumes"]


PLAIN = objects({}, {})

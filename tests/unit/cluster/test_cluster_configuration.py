"""Pure parts of the cluster tool: versions, wrapper modules, settings, scrape targets, node configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.build import NAMES, binary_path, kubernetes_wrapper
from cluster.errors import BuildError, ClusterError
from cluster.monitoring import scrape_targets
from cluster.node import kubelet_configuration
from cluster.pins import KUBERNETES_DEFAULT, kubernetes_version
from cluster.settings import Settings


@pytest.mark.parametrize("text", ["1.34.4", "v1.34.4", " 1.34.4 "])
def test_a_version_is_read_with_and_without_v(text: str) -> None:
    assert kubernetes_version(text) == "1.34.4"


@pytest.mark.parametrize(("text", "remedy"), [("1.34", "write it as"), ("latest", "write it as"), ("1.30.9", "newer")])
def test_a_wrong_version_is_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ClusterError, match=remedy):
        kubernetes_version(text)


def test_wrapper_module_takes_published_staging_modules() -> None:
    own = "replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/kubelet => ./staging/src/k8s.io/kubelet\n)\n"
    wrapper = kubernetes_wrapper(own, "1.31.4")
    assert "require k8s.io/kubernetes v1.31.4\n" in wrapper
    assert "\tk8s.io/api => k8s.io/api v0.31.4\n\tk8s.io/kubelet => k8s.io/kubelet v0.31.4\n" in wrapper
    assert "./staging" not in wrapper


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("K8S", "KINEMA_CACHE", "KINEMA_CLUSTER", "KINEMA_CLUSTER_NODES", "KINEMA_HOST_MOUNTS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_defaults(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HOME", "/somewhere")
    settings = Settings.from_environment()
    assert settings.kubeconfig == Path("/somewhere/.cache/kinema/cluster/admin.kubeconfig")
    assert (settings.kubernetes, settings.nodes, settings.kind) == (KUBERNETES_DEFAULT, 3, "auto")


@pytest.mark.parametrize(
    ("name", "value"), [("KINEMA_CLUSTER", "cloud"), ("KINEMA_CLUSTER_NODES", "0"), ("KINEMA_CLUSTER_NODES", "many")]
)
def test_a_wrong_setting_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(ClusterError, match=f"{name}='{value}'"):
        Settings.from_environment()


def test_binaries_carry_their_version(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("K8S", "1.31.4")
    settings = Settings.from_environment()
    assert binary_path(settings, "kubelet").name == "kubelet-1.31.4"
    assert len({binary_path(settings, name) for name in NAMES}) == len(NAMES)
    with pytest.raises(BuildError, match="choose among"):
        binary_path(settings, "kubectl")


def pod(**changes: Any) -> dict[str, Any]:
    notes = {"prometheus.io/scrape": "true", "prometheus.io/port": "9400", "prometheus.io/path": "/m"}
    metadata = {
        "namespace": "n",
        "name": "p",
        "annotations": notes,
        "labels": {"kinema.dev/training": "t", "app": "x"},
    }
    return {
        "metadata": {**metadata, **changes.pop("metadata", {})},
        "spec": {"nodeName": "node1"},
        "status": {"phase": "Running", "podIP": "10.244.1.7", **changes},
    }


def test_an_annotated_pod_is_scraped_with_its_labels() -> None:
    labels = {
        "kinema_dev_training": "t",
        "namespace": "n",
        "pod": "p",
        "node": "node1",
        "__metrics_path__": "/m",
    }
    assert scrape_targets([pod()]) == [{"targets": ["10.244.1.7:9400"], "labels": labels}]


@pytest.mark.parametrize(
    "unfit",
    [
        pod(phase="Succeeded"),
        pod(podIP=None),
        pod(metadata={"annotations": {"prometheus.io/scrape": "true"}}),
        pod(metadata={"annotations": {"prometheus.io/port": "1"}}),
        pod(metadata={"annotations": None}),
    ],
)
def test_other_pods_are_not(unfit: dict[str, Any]) -> None:
    assert scrape_targets([unfit]) == []


def test_node_timings_are_the_defaults_of_kubernetes() -> None:
    timings = ("nodeStatusUpdateFrequency", "nodeStatusReportFrequency", "nodeLeaseDurationSeconds")
    assert not set(timings) & kubelet_configuration("node1", Path("/ca.crt")).keys()

"""The control plane runs from its image alone, and an API server that is away for a minute loses nothing."""

from __future__ import annotations

import json
import time

import pytest

from e2e.conftest import finished, training
from stage import faults, install, kube, runs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def _operators() -> list[dict]:
    return kube.items("pods", install.SYSTEM, "app.kubernetes.io/component=operator")


def test_the_control_plane_runs_from_its_image_without_a_mount_of_the_host() -> None:
    for pod in _operators():
        assert not any("hostPath" in volume for volume in pod["spec"]["volumes"])
        assert pod["spec"].get("runtimeClassName") is None
        name = pod["metadata"]["name"]
        built = json.loads(kube.kubectl("exec", name, "-n", install.SYSTEM, "--", "cat", "/opt/kinema/IMAGE"))
        assert built["name"] == "control-plane"
        assert built["content"] == install.control_plane_image()[1]


def test_both_replicas_are_ready() -> None:
    ready = [
        p
        for p in _operators()
        if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"]["conditions"])
    ]
    assert len(ready) == 2


# In make test, test_chaos has the API server away for as long.
@pytest.mark.soak
def test_an_api_server_that_is_away_for_a_minute_loses_nothing(namespace: str) -> None:
    kube.apply(training("through", 600), namespace)
    kube.until(lambda: runs.stepping("through", namespace, 2), "two stepping workers", 180)
    with faults.api_server_away(seconds=60):
        pass
    kube.until(lambda: kube.kubectl("get", "--raw", "/readyz", check=False) == "ok", "the API server back", 120)
    status = finished("through", namespace)
    assert status["attempt"] == 1
    assert len(kube.items("jobs", namespace, "app.kubernetes.io/component=trainer")) <= 1


def test_samples_read_and_behave_as_a_kubernetes_user_expects(namespace: str) -> None:
    samples = str(install.REPOSITORY / "manifests" / "samples")
    kube.kubectl("apply", "-n", namespace, "-f", samples)
    assert kube.kubectl("diff", "-n", namespace, "-f", samples, check=False) == ""
    kube.kubectl("apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", samples)
    listed = kube.until(lambda: _listed(namespace), "phases in kubectl get kinema", 60)
    assert "tiny-world" in listed
    assert "red-square" in listed
    described = kube.kubectl("describe", "vmt", "tiny-world", "-n", namespace)
    assert "Conditions:" in described
    kube.kubectl("delete", "-n", namespace, "-f", samples)


def _listed(namespace: str) -> str | None:
    out = kube.kubectl("get", "kinema", "-n", namespace)
    return out if "Pending" in out or "Training" in out else None


# In make test, test_training has its leader killed as well.
@pytest.mark.soak
def test_failover_takes_less_than_twenty_seconds() -> None:
    lease = kube.get("lease", "kinema-operator", install.SYSTEM) or {}
    holder = lease["spec"]["holderIdentity"]
    victim = next(p for p in _operators() if p["metadata"]["name"] in holder)
    begun = time.monotonic()
    faults.kill_pod(victim["metadata"]["uid"])
    kube.until(
        lambda: (
            (kube.get("lease", "kinema-operator", install.SYSTEM) or {})["spec"].get("holderIdentity", "")
            not in ("", holder)
        ),
        "another leader",
        60,
        poll=0.1,
    )
    print(f"failover after {time.monotonic() - begun:.1f} s")

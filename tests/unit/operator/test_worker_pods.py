"""What a platform decides about every worker pod: registry credentials and users, by the operator's environment."""

from __future__ import annotations

from typing import Any

import pytest

from kinema_api.serving import VideoModel
from kinema_api.training import VideoModelTraining
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.serving.objects.deployment import server_deployment
from kinema_operator.training import children
from kinema_operator.training.objects.job import job
from kinema_operator.training.objects.rendezvous_pod import Making, store_pod

DIGEST = "sha256:" + "ab" * 32
TRAINING = {
    "metadata": {"name": "tiny", "namespace": "team", "uid": "uid-1"},
    "spec": {"model": {"preset": "tiny"}, "data": {"world": {}}, "optimization": {"steps": 10}},
    "status": {"run": 1, "attempt": 1},
}
MODEL = {"metadata": {"name": "tiny", "namespace": "team", "uid": "uid-2"}, "spec": {"source": {"digest": DIGEST}}}


def every_pod() -> dict[str, dict[str, Any]]:
    """The spec of each kind of worker pod."""
    settings = Settings(store_endpoint="http://minio.kinema-system.svc:9000")
    training = VideoModelTraining.parse(TRAINING)
    location = store_location(None, settings)
    config, app = children.describe_attempt(training, location, settings)
    server = server_deployment(VideoModel.parse(MODEL), DIGEST, 1, settings)
    return {
        "trainer": job(training, app, config, 2, settings)["spec"]["template"]["spec"],
        "rendezvous": store_pod(training, app, config, settings, Making())["spec"],
        "server": dict(server["spec"]["template"]["spec"]),
    }


def test_every_worker_pod_pulls_with_the_platforms_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINEMA_IMAGE_PULL_SECRETS", '["registry", "mirror"]')
    for name, spec in every_pod().items():
        assert spec.get("imagePullSecrets") == [{"name": "registry"}, {"name": "mirror"}], name


def test_a_platform_that_gives_out_users_is_left_to_choose_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINEMA_WORKER_USER", "platform")
    for name, spec in every_pod().items():
        chosen = spec["securityContext"].keys() & {"runAsUser", "runAsGroup", "fsGroup"}
        assert not chosen, f"OpenShift's restricted SCC refuses the {name}: {chosen} lie outside the namespace's range"
        assert spec["securityContext"]["runAsNonRoot"] is True


def test_one_user_for_all_worker_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINEMA_WORKER_USER", "2000")
    for name, spec in every_pod().items():
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 2000, name

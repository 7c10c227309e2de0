"""Every pod's resources are made by one builder, which makes them such that the API server takes them."""

from __future__ import annotations

from kinema_api.serving import VideoModel
from kinema_operator.core.settings import Settings
from kinema_operator.serving.objects.deployment import server_deployment

MODEL = VideoModel.parse(
    {
        "metadata": {"name": "m", "namespace": "studio", "uid": "u"},
        "spec": {
            "source": {"training": "t"},
            "serving": {"resources": {"requests": {"nvidia.com/gpu": 1, "cpu": "2"}}},
        },
    }
)


def test_a_gpu_that_a_server_only_requests_is_its_limit_too() -> None:
    made = server_deployment(MODEL, "sha256:" + "a" * 64, 1, Settings())
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"nvidia.com/gpu": "1", "cpu": "2"},
        "limits": {"nvidia.com/gpu": "1"},
    }

"""Clips without captions get them from an endpoint that the administrator allows, which only preparing pods reach."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.conftest import _stranger, end_namespace, finished
from kinema_api import layout, names
from stage import install, kube, objects, runs
from unit.jobs.prepare.material import real

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

CAPTIONER = "e2e-captioner"
HOST = f"captioner.{CAPTIONER}.svc"
PORT = 8000
KEY = "only-preparers-know"
FOLDER = f"silent-{uuid.uuid4().hex[:8]}"
SERVER = f"""
import http.server, json
class Captioner(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers.get("Authorization") == "Bearer {KEY}"
        said = json.dumps({{"short": "a street", "rich": "A street on a bright day."}})
        answer = {{"choices": [{{"message": {{"role": "assistant", "content": said}}, "finish_reason": "stop"}}]}}
        body = json.dumps(answer).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", {PORT}), Captioner).serve_forever()
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A captioner in a namespace of its own, on the list of the chart."""
    kube.restricted_namespace(CAPTIONER)
    pod = _stranger("captioner")
    pod["metadata"]["labels"] = {"app": "captioner"}
    pod["spec"]["containers"][0]["command"] = ["python3", "-c", SERVER]
    ports = [{"port": PORT, "targetPort": PORT}]
    service: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "captioner"}}
    service["spec"] = {"selector": {"app": "captioner"}, "ports": ports}
    kube.apply([pod, service], CAPTIONER)
    _, content = install.control_plane_image()
    install.upgrade(content, "--set-json", f'allowedCaptionEndpoints=["http://{HOST}:{PORT}"]')
    yield f"http://{HOST}:{PORT}/v1"
    install.upgrade(content)
    end_namespace(CAPTIONER)


@pytest.fixture(scope="module")
def trained(endpoint: str, namespace: str) -> dict[str, Any]:
    """The status of a training on a clip that nobody has captioned."""
    install.store().put(f"{layout.inputs_prefix(namespace)}{FOLDER}/bikes.mp4", real("bikes"))
    account = f"--serviceaccount={install.SYSTEM}:kinema-operator"
    kube.kubectl("create", "rolebinding", "kinema", "--clusterrole=kinema-operator-secrets", account, "-n", namespace)
    kube.kubectl("create", "secret", "generic", "captioner", f"--from-literal=apiKey={KEY}", "-n", namespace)
    kube.kubectl("label", "secret", "captioner", f"{names.LABEL_API_KEY}=true", "-n", namespace)
    captions = {"endpoint": {"url": endpoint, "model": "m", "secretRef": {"name": "captioner"}}}
    clips = {"uri": f"s3://kinema/inputs/{namespace}/{FOLDER}/", "captions": captions}
    kube.apply(objects.tiny_training("silent", 200, nodes=1, data={"videos": [clips]}), namespace)
    return kube.until(lambda: _trains(namespace), "a training with its dataset", 900)


def _trains(namespace: str) -> dict[str, Any] | None:
    status = runs.training_status("silent", namespace)
    if status.get("phase") == "Failed":
        pytest.fail(runs.explain("vmt", "silent", namespace))
    return status if status.get("phase") == "Training" else None


def test_clips_are_captioned_with_the_key_of_the_secret(trained: dict[str, Any], namespace: str) -> None:
    (dataset,) = trained["dataset"]["datasets"]
    assert dataset["samples"] > 0
    lines = install.store().get(f"{dataset['prefix']}index.jsonl").decode().splitlines()
    captions = {json.loads(line)["about"]["captions"]["rich"] for line in lines}
    assert captions == {"A street on a bright day."}
    for text in (json.dumps(trained), kube.kubectl("get", "pods,jobs", "-n", namespace, "-o", "json")):
        assert KEY not in text


def test_trainers_reach_it_not_although_pods_without_a_policy_do(
    trained: dict[str, Any], namespace: str, foreign_reach: Any
) -> None:
    assert trained["phase"] == "Training"
    assert foreign_reach(HOST, PORT)
    pod = kube.until(lambda: runs.trainer_pods("silent", namespace), "a trainer", 60)[0]
    script = f"import socket; socket.create_connection(('{HOST}', {PORT}), timeout=3); print('open')"
    assert "open" not in kube.kubectl("exec", pod.name, "-n", namespace, "--", "python", "-c", script, check=False)
    assert kube.get("networkpolicy", names.preparation_name("silent", 1), namespace) is None
    finished("silent", namespace, seconds=900)

"""A kubeconfig that cannot be used ends the command with code 3; no other cluster is asked in its place."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from kubernetes.config import incluster_config

from kinema_cli.main import main

SAMPLE = Path(__file__).parents[3] / "manifests/samples/training.yaml"
IN_A_POD = """
import sys
from kubernetes.config import incluster_config
incluster_config.SERVICE_TOKEN_FILENAME, incluster_config.SERVICE_CERT_FILENAME = sys.argv[1], sys.argv[2]
from kinema_cli.main import main
main(sys.argv[3:])
"""


class _Asked(BaseHTTPRequestHandler):
    """An API server that knows nothing, or what a test has it answer."""

    asked: tuple[str, ...] = ()
    answer: tuple[int, dict[str, Any]] = (404, {"message": "nothing"})

    def _answer(self) -> None:
        type(self).asked = (*self.asked, f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.answer
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PATCH = do_POST = _answer

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    _Asked.asked, _Asked.answer = (), (404, {"message": "nothing"})
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Asked)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def kubeconfig(port: int, **user: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "films"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": user}],
    }


InAPod = Callable[..., Result]


@pytest.fixture
def pod(tmp_path: Path) -> dict[str, str]:
    """The variables of a pod but the port of its cluster; its files are in the test's folder, HOME is empty."""
    (tmp_path / "token").write_text("a-pods-token")
    (tmp_path / "ca.crt").write_text("a certificate")
    (tmp_path / "home").mkdir()
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "HOME": str(tmp_path / "home")}


@pytest.fixture
def in_a_pod(tmp_path: Path, pod: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> InAPod:
    """The command in a pod whose own cluster answers on a port."""
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))

    def run(port: int, *arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(main, arguments, env={**pod, "KUBERNETES_SERVICE_PORT": str(port), **environment})

    return run


def broken(tmp_path: Path, what: str, port: int) -> str:
    """The KUBECONFIG of a fault; its file is called theirs."""
    path, body = tmp_path / "theirs", kubeconfig(port)
    if what == "file":
        return str(path)
    if what == "yaml":
        path.write_text("a: [")
        return str(path)
    if what == "list":
        path.write_text("- 1\n")
        return str(path)
    if what == "empty":
        path.write_text("")
        return str(path)
    if what == "context":
        body["current-context"] = "gone"
    elif what == "no context":
        del body["current-context"]
    elif what == "cluster":
        body["clusters"] = []
    elif what == "user":
        body["users"] = []
    elif what == "certificate":
        body["clusters"][0]["cluster"] |= {"certificate-authority": str(tmp_path / "gone.crt"), "server": "https://h"}
    elif what == "certificate data":
        body["clusters"][0]["cluster"] |= {"certificate-authority-data": "?", "server": "https://h"}
    elif what == "client certificate":
        body["users"][0]["user"] = {"client-certificate": "/gone.crt", "client-key": "/gone.key"}
        body["clusters"][0]["cluster"]["server"] = "https://h"
    path.write_text(yaml.safe_dump(body))
    return str(path)


FAULTS = [
    "file",
    "yaml",
    "list",
    "empty",
    "context",
    "no context",
    "cluster",
    "user",
    "certificate",
    "certificate data",
    "client certificate",
]


@pytest.mark.parametrize("what", FAULTS)
def test_a_broken_kubeconfig_is_told_and_the_pods_own_cluster_is_not_asked(
    tmp_path: Path, what: str, server: ThreadingHTTPServer, in_a_pod: InAPod
) -> None:
    path = broken(tmp_path, what, server.server_port)
    done = in_a_pod(server.server_port, "get", "trainings", KUBECONFIG=path)
    assert done.exit_code == 3, done.stderr
    assert path in done.stderr, done.stderr
    assert "correct KUBECONFIG" in done.stderr
    assert done.stderr.count("\n") == 1
    assert _Asked.asked == ()


def test_a_context_that_is_not_there_is_told(tmp_path: Path, server: ThreadingHTTPServer, in_a_pod: InAPod) -> None:
    (tmp_path / "theirs").write_text(yaml.safe_dump(kubeconfig(server.server_port)))
    done = in_a_pod(1, "get", "--context", "gone", KUBECONFIG=str(tmp_path / "theirs"))
    assert (done.exit_code, "gone" in done.stderr) == (3, True), done.stderr
    assert _Asked.asked == ()


def test_a_pod_without_a_kubeconfig_asks_its_own_cluster(tmp_path: Path, pod: dict[str, str]) -> None:
    """In a process of its own, where nothing has been imported before."""
    # Of the variables only the path matters: no kubeconfig of whoever runs the tests.
    basic = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    basic.setdefault("PYTHONPATH", os.pathsep.join(sys.path))
    environment = {**basic, **pod, "KUBERNETES_SERVICE_PORT": "1"}
    files = [str(tmp_path / "token"), str(tmp_path / "ca.crt")]
    command = [sys.executable, "-c", IN_A_POD, *files, "get", "trainings"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3
    assert "KUBECONFIG" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "why"),
    [("echo please log in >&2; exit 1", "exec: process returned 1"), ("echo hello", ""), ("echo '{}'", "")],
)
def test_a_plugin_that_gives_no_credentials_does_not_make_an_anonymous_request(
    tmp_path: Path, server: ThreadingHTTPServer, script: str, why: str
) -> None:
    plugin = tmp_path / "log-in"
    plugin.write_text(f"#!/bin/sh\n{script}\n")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    version = "client.authentication.k8s.io/v1"
    body = kubeconfig(server.server_port, exec={"apiVersion": version, "command": str(plugin), "args": []})
    (tmp_path / "theirs").write_text(yaml.safe_dump(body))
    result = invoke("get", "trainings", kubeconfig_path=tmp_path / "theirs")
    assert result.exit_code == 3
    assert "log-in" in result.stderr
    assert why in result.stderr
    assert _Asked.asked == ()


def test_a_plugin_that_is_not_installed_is_named(tmp_path: Path, server: ThreadingHTTPServer) -> None:
    version = "client.authentication.k8s.io/v1"
    body = kubeconfig(server.server_port, exec={"apiVersion": version, "command": "no-such-plugin", "args": []})
    (tmp_path / "theirs").write_text(yaml.safe_dump(body))
    result = invoke("get", "trainings", kubeconfig_path=tmp_path / "theirs")
    assert (result.exit_code, "no-such-plugin" in result.stderr) == (3, True), result.stderr
    assert _Asked.asked == ()


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (
            "failed to create typed patch object (films/tiny-world; kinema.dev/v1alpha1, Kind=VideoModelTraining): "
            ".metadata.labels.team: expected string, got &value.valueUnstructured{Value:7}",
            ".metadata.labels.team: expected string",
        ),
        (
            "failed to create typed patch object (films/tiny-world; kinema.dev/v1alpha1, Kind=VideoModelTraining): "
            "errors:\n  .spec.nods: field not declared in schema",
            ".spec.nods: field not declared in schema",
        ),
    ],
)
def test_an_object_that_does_not_fit_its_schema_is_a_bad_manifest(
    tmp_path: Path, server: ThreadingHTTPServer, said: str, field: str
) -> None:
    _Asked.answer = (500, {"kind": "Status", "status": "Failure", "message": said, "code": 500})
    (tmp_path / "theirs").write_text(yaml.safe_dump(kubeconfig(server.server_port)))
    result = invoke("train", str(SAMPLE), kubeconfig_path=tmp_path / "theirs")
    assert result.exit_code == 2, result.stderr
    assert field in result.stderr
    assert "try again" not in result.stderr
    assert "&value" not in result.stderr


def invoke(command: str, *arguments: str, kubeconfig_path: Path) -> Result:
    return CliRunner().invoke(main, [command, *arguments, "--kubeconfig", str(kubeconfig_path)])

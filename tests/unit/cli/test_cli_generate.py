"""`kinema generate` tells apart what failed and what was refused, and what became of a request is never left open."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from kinema_cli.main import main

CLIP = b"a clip"


class _Cluster(BaseHTTPRequestHandler):
    """An API server with generations alone, whose status is what a test says."""

    created: dict[str, dict[str, Any]]
    uploaded: list[bytes]
    asked: list[tuple[str, str]]
    status: Callable[[dict[str, Any]], dict[str, Any]]
    drops: bool = False

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/bucket/":
            type(self).uploaded.append(content)
            self.send_response(204)
            self.end_headers()
            return
        if self.path.endswith("/serviceaccounts/default/token"):
            self._say({"status": {"token": "token-for-links"}})
            return
        if "/proxy/" in self.path:
            type(self).asked.append((self.path.partition("/proxy")[2], self.headers["Kinema-Authorization"]))
            self._say({"url": f"http://127.0.0.1:{self.server.server_address[1]}/bucket/", "fields": {"key": "k"}})
            return
        body = json.loads(content)
        type(self).created[body["metadata"]["name"]] = body
        if self.drops:
            self.close_connection = True
            return
        self._say(body)

    def do_GET(self) -> None:
        if self.path.startswith("/clip"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CLIP)))
            self.end_headers()
            self.wfile.write(CLIP)
            return
        body = type(self).created[self.path.split("?")[0].rsplit("/", 1)[1]]
        self._say({**body, "status": type(self).status(body)})

    def _say(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


Kinema = Callable[..., Result]


@pytest.fixture
def api() -> Iterator[type[_Cluster]]:
    class Handler(_Cluster):
        created: dict[str, dict[str, Any]] = {}  # noqa: RUF012
        uploaded: list[bytes] = []  # noqa: RUF012
        asked: list[tuple[str, str]] = []  # noqa: RUF012
        port = 0

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.port = http.server_port
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield Handler
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def kinema(api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kinema:
    monkeypatch.chdir(tmp_path)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "films"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))

    def invoke(*arguments: str, **how: Any) -> Result:
        where = ["generate", "--model", "tiny", "--kubeconfig", str(tmp_path / "kubeconfig")]
        return CliRunner().invoke(main, [*where, *arguments], **how)

    return invoke


def ended(reason: str, message: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    condition = {"type": "Failed", "status": "True", "reason": reason, "message": message}
    return lambda _: {"phase": "Failed", "conditions": [condition]}


def succeeded(api: Any, **more: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:

    video = {"uri": "s3://b/v", "url": f"http://127.0.0.1:{api.port}/clip", "sha256": hashlib.sha256(CLIP).hexdigest()}
    return lambda _: {"phase": "Succeeded", "video": video, "seed": 1, **more}


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("RenderingFailed", 5),
        ("Refused", 5),
        ("InputElsewhere", 5),
        ("InputTooLarge", 5),
        ("AttemptsExhausted", 1),
        ("DeadlineExceeded", 1),
    ],
)
def test_a_pipeline_can_tell_a_refused_request_from_a_failed_one(
    api: Any, kinema: Kinema, reason: str, code: int
) -> None:
    api.status = staticmethod(ended(reason, "this and that"))
    result = kinema("a red square")
    assert result.exit_code == code, result.output
    assert "this and that" in result.stderr


def test_a_request_whose_answer_never_came_is_named(api: Any, kinema: Kinema) -> None:
    api.drops = True
    result = kinema("a red square")
    assert result.exit_code == 3
    (name,) = api.created
    assert f"kinema get generations {name}" in result.stderr


def test_a_file_of_this_machine_is_what_the_clip_is_made_from(api: Any, kinema: Kinema, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"a photo")
    api.status = staticmethod(succeeded(api))
    result = kinema("a red square", "--task", "image", "--input", "photo.png", "--name", "animated")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "animated.mp4").read_bytes() == CLIP
    given = api.created["animated"]["spec"]["input"]
    assert given == {"upload": {"sha256": hashlib.sha256(b"a photo").hexdigest(), "bytes": 7}}
    path = "/v1/namespaces/films/videogenerations/animated/uploads/input"
    assert api.asked == [(path, "Bearer token-for-links")]
    (form,) = api.uploaded
    assert b"a photo" in form


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("empty.png", "has 0 bytes"),
        ("./gone.png", "cannot be read"),
        ("/tmp/gone.png", "cannot be read"),
        ("folder/", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_uploaded_is_refused_before_anything_is_asked(
    api: Any, kinema: Kinema, tmp_path: Path, named: str, said: str
) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    result = kinema("a red square", "--task", "image", "--input", named)
    assert (result.exit_code, said in result.stderr) == (2, True), result.output
    assert api.created == {}


def test_many_prompts_are_asked_for_at_once_and_each_has_its_clip(api: Any, kinema: Kinema, tmp_path: Path) -> None:
    api.status = staticmethod(succeeded(api))
    (tmp_path / "prompts.txt").write_text("a red square\n\n# not this\na blue circle\n")
    result = kinema("--prompts", "prompts.txt", "--name", "clips", "--json")
    assert result.exit_code == 0, result.output
    assert {name: body["spec"]["prompt"] for name, body in api.created.items()} == {
        "clips-1": "a red square",
        "clips-2": "a blue circle",
    }
    assert [one["name"] for one in json.loads(result.stdout)] == ["clips-1", "clips-2"]
    assert (tmp_path / "clips-2.mp4").read_bytes() == CLIP


def test_a_prompt_is_read_from_standard_input(api: Any, kinema: Kinema) -> None:
    api.status = staticmethod(succeeded(api))
    assert kinema("-", input="a red square\n").exit_code == 0
    assert [body["spec"]["prompt"] for body in api.created.values()] == ["a red square"]


def test_what_the_model_did_not_hear_is_told(api: Any, kinema: Kinema) -> None:
    heard = {"tokens": 128, "limit": 128, "cut": "in the snow", "unseenWords": ["golden", "retriever"]}
    api.status = staticmethod(succeeded(api, prompt=heard))
    result = kinema("a golden retriever in the snow")
    assert result.exit_code == 0, result.output
    assert "ignored its end: 'in the snow'" in result.stderr
    assert "did not occur in training" in result.stderr
    assert "golden, retriever" in result.stderr


def test_a_prompt_stands_in_no_argv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is on the machine reads the arguments of every process."""
    told = tmp_path / "told"
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nprintf "%s " "$@" > {told}\ncat > {told}.in\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    arguments = [
        "a secret scene",
        "--local",
        str(tmp_path),
        "--negative-prompt",
        "a secret fear",
        "--shot",
        "1:a secret end",
    ]
    CliRunner().invoke(main, ["generate", *arguments], input="")
    assert "kinema_jobs.generate" in told.read_text()
    assert "secret" not in told.read_text()
    assert json.loads((tmp_path / "told.in").read_text())["prompt"] == "a secret scene"


def test_a_model_that_is_fetched_and_what_it_warns_of_are_shown(kinema: Kinema, api: Any) -> None:
    done = succeeded(api, warnings=["the model was not made for 64x32"])
    loading = {"phase": "Running", "progress": {"stage": "loading", "loadedPercent": 42}}
    answers = iter([loading])
    api.status = lambda body: next(answers, None) or done(body)
    result = kinema("a red ball")
    assert result.exit_code == 0, result.output
    assert "Running, the server loads the model 42/100" in result.stderr
    assert "note: the model was not made for 64x32" in result.stderr

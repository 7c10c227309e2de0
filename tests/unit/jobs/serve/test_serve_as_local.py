"""A server and the local command make the same clip of a request, and refuse one in the same words."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from kinema_jobs import generate
from unit.jobs.serve.conftest import Order

JOBS = Path(generate.__file__).parent
STEPS_OF_MAKING = {"open_input", "request_record", "write_artefacts", "expand_prompt"}


class Local:
    """The local command, called as its process calls it."""

    def __init__(self, model: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self._model, self._out, self._monkeypatch, self._capsys = model, out, monkeypatch, capsys

    async def __call__(self, **fields: Any) -> tuple[int, dict[str, Any]]:
        """Exit code and last event."""
        given = [f"--{name.replace('_', '-')}={value}" for name, value in fields.items()]
        argv = ["generate", f"--model={self._model}", f"--out={self._out / 'video.mp4'}", *given]
        self._monkeypatch.setattr("sys.argv", argv)
        self._capsys.readouterr()
        code = await asyncio.to_thread(generate.main)
        return code, json.loads(self._capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def local(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Local:
    return Local(model_folder, tmp_path / "here", monkeypatch, capsys)


FIELDS = {"prompt": "a red square moves right", "seed": 7, "steps": 2, "guidance_scale": 2, "seconds": 1}


async def test_the_same_request_is_the_same_clip(server: Any, store: Any, make_order: Order, local: Local) -> None:
    await server.submit(make_order(**{to_camel(name): value for name, value in FIELDS.items()}))
    state = await server.ended("uid-1")
    assert state.phase == "succeeded", state.error
    code, event = await local(**FIELDS)
    assert code == 0, event
    there = {file.name: store.objects[f"out/uid-1/1/{file.name}"] for file in state.result.files}
    here = {path.name: path.read_bytes() for path in Path(event["path"]).parent.iterdir()}
    assert here.keys() == there.keys()
    records = [json.loads(files.pop("request.json")) for files in (here, there)]
    assert here == there
    order = {"uid": "uid-1", "attempt": 1, "namespace": "films", "name": "red-square"}
    assert {**records[0], **order} == records[1]
    assert event["prompt"] == {**state.result.prompt.to_wire(), "cut": None}


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 0},
        {"fps": 61},
        {"fps": 7},
        {"guidance_scale": 31},
        {"seconds": 61},
        {"seconds": 30},
        {"size": "33x47"},
        {"size": "24x1200"},
        {"prompt": "\u200b"},
        {"task": "extend"},
        {"task": "text", "strength": 0.5},
        {"input_seconds": 0.5},
    ],
)
async def test_a_request_is_refused_in_the_same_words(
    server: Any, make_order: Order, local: Local, fields: dict[str, Any]
) -> None:
    asked = {**FIELDS, **fields}
    status, body = await server.submit(make_order(**{to_camel(name): value for name, value in asked.items()}))
    there = body.get("error") if status == 400 else (await server.ended("uid-1")).error
    code, event = await local(**asked)
    assert (code, event["message"]) == (2, there)


def test_a_clip_is_made_in_one_place() -> None:
    callers = {
        path.relative_to(JOBS).as_posix()
        for path in JOBS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STEPS_OF_MAKING
    }
    assert callers == {"clip/make.py"}

"""What is shown: one JSON document for programs, few lines in a log, no control characters on a terminal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from kinema_cli.follow import reason
from kinema_cli.get import describe
from kinema_cli.output import Output, printable


def test_progress_off_a_terminal_is_a_line_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(as_json=False).progress() as follower:
        for step in range(1, 101):
            follower.show(f"Training, loss {1 / step:.3f}", step, 100)
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 11


def test_json_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    with output.progress() as follower:
        follower.show("Training", 1, 2)
    output.note("for people")
    output.result({"a": 1}, "text")
    said = capsys.readouterr()
    assert (json.loads(said.out), said.err) == ({"a": 1}, "")


def test_a_table_in_a_pipe_keeps_whole_cells(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table([], ["name", "message"], [["a", "x" * 200], ["[red]b", ""]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "MESSAGE"]
    assert lines[1].split() == ["a", "x" * 200]
    assert lines[2].split() == ["[red]b"]


def test_control_characters_are_not_passed_on() -> None:
    assert printable("a\x1b[2Jb\nc\x07") == "a\ufffd[2Jb\nc\ufffd"


def test_the_reason_is_that_of_the_failure_else_of_what_waits() -> None:
    def condition(kind: str, status: str, message: str, time: str) -> dict[str, str]:
        return {"type": kind, "status": status, "message": message, "lastTransitionTime": time}

    waiting = [condition("Accepted", "False", "no model", "1"), condition("Running", "False", "no pods", "2")]
    assert reason({"conditions": waiting}) == "no pods"
    assert reason({"conditions": [*waiting, condition("Failed", "True", "bad", "0")]}) == "bad"
    assert reason({}) == ""


def test_an_object_is_described_with_its_conditions() -> None:
    text = describe(
        {
            "kind": "VideoGeneration",
            "metadata": {"namespace": "films", "name": "clip"},
            "spec": {"prompt": "a \x1b[31mred square", "modelRef": {"name": "m"}},
            "status": {
                "phase": "Failed",
                "conditions": [{"type": "Failed", "status": "True", "reason": "Shape", "message": "too large"}],
            },
        }
    )
    assert "VideoGeneration films/clip: Failed" in text
    assert "    name: m" in text
    assert "Failed=True Shape: too large" in text
    assert "\x1b" not in text


def test_the_command_imports_neither_torch_nor_jobs_nor_kubernetes() -> None:
    code = (
        "import sys, kinema_cli.main; "
        "print([m for m in ('torch', 'kinema_jobs', 'kinema_model', 'kubernetes') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

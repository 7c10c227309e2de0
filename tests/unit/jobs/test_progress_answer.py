"""What a trainer's agent answers when it is asked how far it is."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kinema_jobs.train.progress import ProgressFile, write_progress
from kinema_jobs.train.telemetry import Telemetry, serve


class Agent:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.telemetry = Telemetry(file, ProgressFile(run=1, attempt=1))
        self._server = serve(self.telemetry, 0)

    def answer(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._server.server_port}/progress"
        with urllib.request.urlopen(url, timeout=10) as response:
            found: dict[str, Any] = json.load(response)
            return found

    def writes(self, **fields: Any) -> None:
        fields = {"run": 1, "attempt": 1, "round": 3, "rank": 0, "worldSize": 2, "step": 9} | fields
        write_progress(self.file, ProgressFile.model_validate(fields))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "progress.json")
    yield made
    made.close()


def test_ages_are_told_so_that_no_clocks_are_compared(agent: Agent) -> None:
    hour_ago = time.monotonic() - 3600
    checkpoint = {"step": 5, "prefix": "p/", "digest": "sha256:" + "a" * 64, "time": 1.0}
    agent.writes(stepEndedAt=hour_ago, committedAt=hour_ago - 60, checkpoint=checkpoint, lastStepTime=5.0)
    answer = agent.answer()
    assert 3600 <= answer.get("stepAgeSeconds", -1) < 3660
    assert 3660 <= answer["checkpoint"].get("ageSeconds", -1) < 3720
    agent.writes()
    assert "stepAgeSeconds" not in agent.answer(), "no step in this round yet"


def test_it_is_told_for_how_long_the_rendezvous_has_not_been_heard(agent: Agent) -> None:
    agent.writes()
    assert "rendezvousSilentSeconds" not in agent.answer(), "nobody has looked for it yet"
    agent.telemetry.rendezvous_silent = lambda: 7.5
    assert agent.answer()["rendezvousSilentSeconds"] == 7.5


def test_the_length_of_the_lease_is_told_once_it_is_known(agent: Agent) -> None:
    agent.writes()
    assert "rendezvousLeaseSeconds" not in agent.answer()
    agent.telemetry.rendezvous_lease = lambda: 30.0
    assert agent.answer()["rendezvousLeaseSeconds"] == 30.0


def test_a_node_whose_round_is_over_speaks_for_no_group(agent: Agent) -> None:
    agent.writes()
    assert (agent.answer()["rank"], agent.answer()["worldSize"]) == (0, 2)
    agent.telemetry.round_ended("loss")
    answer = agent.answer()
    assert (answer["rank"], answer["worldSize"], answer["step"]) == (-1, 0, 9)
    agent.writes(round=4)
    assert agent.answer()["rank"] == 0

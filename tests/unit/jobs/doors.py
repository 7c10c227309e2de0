"""The jobs' doors as tests knock at them: what a process is given, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from kinema_jobs import generate
from kinema_jobs.evaluate import __main__ as evaluate
from kinema_jobs.local.__main__ import main as run_local
from kinema_model.artefact import save_model
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.text.reading import vocabulary, write_vocabulary
from kinema_world import WorldConfig
from kinema_world.stored import texts_of, world_files

BAD_REQUEST, NO_MODEL = 2, 1
PROMPT = "a red square moves right"


def publish(folder: Path, *tasks: Task) -> Path:
    """A small, untrained, real model for these tasks, of clips up to 64 pixels."""
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, tasks=tasks, max_side=64)
    torch.manual_seed(0)
    world = WorldConfig(seed=1)
    save_model(
        folder, dict(VideoDenoiser(config).named_parameters()), config, "# A model for tests", world_files(world)
    )
    # As a training's export has them; without this file every rendering draws the world's captions for seconds.
    write_vocabulary(folder, vocabulary(texts_of(world, scenes=50)))
    return folder


def written(path: Path, content: bytes) -> Path:
    """A file of these bytes."""
    path.write_bytes(content)
    return path


def folder(path: Path) -> Path:
    """A folder where a file belongs."""
    path.mkdir()
    return path


def cut(path: Path, share: float) -> Path:
    """The first share of a file."""
    content = path.read_bytes()
    return written(path, content[: int(share * len(content))])


@dataclass
class Door:
    """Calls a job as its process does, and reads what it says."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    out: Path

    def generate(self, model: Path, **options: Any) -> tuple[int, dict[str, Any]]:
        """Exit code and last event of a rendering with these options."""
        options = {"prompt": PROMPT, "seed": 1, "steps": 1, **options}
        named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        return self._call(generate.main, f"--model={model}", f"--out={self.out / 'clip.mp4'}", *named)

    def evaluate(self, model: Path) -> tuple[int, dict[str, Any]]:
        """The same of an evaluation."""
        return self._call(evaluate.main, f"--model={model}", f"--out={self.out / 'report'}", "--clips=2", "--json")

    def run_local(self, file: Path) -> tuple[int, dict[str, Any]]:
        """The same of a training on this machine."""
        return self._call(run_local, str(file), f"--work={self.out / 'work'}")

    def _call(self, main: Callable[[], int], *arguments: str) -> tuple[int, dict[str, Any]]:
        self.monkeypatch.setattr("sys.argv", ["job", *arguments])
        self.capsys.readouterr()
        code = main()
        return code, json.loads(self.capsys.readouterr().out.splitlines()[-1])

    def refused(self, answer: tuple[int, dict[str, Any]], code: int, *words: str) -> None:
        """One sentence with these words, this exit code, and no file."""
        found, event = answer
        message = str(event.get("message") or event.get("error"))
        assert found == code, event
        assert "\n" not in message
        assert len(message) < 500
        assert all(word in message for word in words), message
        assert not list(self.out.iterdir())

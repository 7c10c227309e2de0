"""Clips that were made are read back: a section that was interrupted asks the model for nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinema_model.conditions.conditioning import Seam
from kinema_model.conditions.task_inputs import NO_INPUTS, Segment, TaskInputs
from kinema_model.conditions.tasks import Task
from kinema_model.config import PRESETS
from kinema_model.pipeline import Completed
from kinema_model.streaming.stream import Shot
from kinema_world import Video
from proof import recorded
from proof.recorded import Recorded
from stage.slices import Slice, SliceOver

CHUNKS = (2, 2, 1)
asked: list[str] = []


class Fake:
    """Draws a clip that tells its seed, and notes what it was asked."""

    def __init__(self, source: Path, device: str) -> None:
        asked.append(f"opened {source.name} on {device}")

    def generate_batch(self, prompts: Sequence[str], seeds: Sequence[int], **how: Any) -> Video:
        asked.append("generate")
        return np.stack([np.full((1, 2, 2, 3), seed, dtype=np.uint8) for seed in seeds])

    def complete(self, task: Task, prompt: str, seed: int, inputs: TaskInputs, **how: Any) -> Completed:
        asked.append("complete")
        return Completed(np.full((1, 2, 2, 3), seed, dtype=np.uint8), (Seam(3, 0.5, 0.25),))

    def stream(self, shots: Sequence[Shot], seed: int, **how: Any) -> Iterator[Video]:
        asked.append("stream")
        for number, length in enumerate(CHUNKS):
            yield np.full((length, 2, 2, 3), number, dtype=np.uint8)


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    asked.clear()
    monkeypatch.setattr(recorded, "Pipeline", Fake)


def model(folder: Path, seconds: float = float("inf"), name: str = "32x") -> Recorded:
    return Recorded(Path("points") / name, PRESETS["tiny"], folder, Slice(seconds), "cpu")


def inputs(value: float) -> TaskInputs:
    return TaskInputs(segments=(Segment(torch.full((3, 1, 2, 2), value), 0),))


def test_an_answer_is_made_once(tmp_path: Path) -> None:
    for _ in range(2):
        one = model(tmp_path)
        assert one.generate_batch(["a", "b"], [3, 4], steps=2)[:, 0, 0, 0, 0].tolist() == [3, 4]
        completed = one.complete(Task.EXTEND, "a", 5, inputs(0.0), steps=2)
        assert completed.video.max() == 5
        assert completed.seams == (Seam(3, 0.5, 0.25),)
        assert [len(chunk) for chunk in one.stream([Shot("a", 1.0)], 6, steps=2)] == list(CHUNKS)
    assert asked == ["opened 32x on cpu", "generate", "complete", "stream"]


def test_other_questions_are_asked_anew(tmp_path: Path) -> None:
    one = model(tmp_path)
    for prompts, seeds, how in (
        (["a", "b"], [1, 2], {}),
        (["a, b"], [1], {}),
        (["a", "b"], [1, 3], {}),
        (["a", "b"], [1, 2], {"steps": 3}),
    ):
        one.generate_batch(prompts, seeds, **how)
    for one_input in (NO_INPUTS, inputs(0.0), inputs(0.5)):
        one.complete(Task.EXTEND, "a", 1, one_input)
    model(tmp_path, name="1x").generate_batch(["a", "b"], [1, 2])
    assert asked.count("generate") == 5
    assert asked.count("complete") == 3


def test_what_is_kept_needs_no_time_and_what_is_new_does(tmp_path: Path) -> None:
    model(tmp_path).generate_batch(["a"], [1])
    late = model(tmp_path, seconds=0)
    assert late.generate_batch(["a"], [1]).max() == 1
    with pytest.raises(SliceOver):
        late.generate_batch(["a"], [2])
    with pytest.raises(SliceOver):
        list(late.stream([Shot("a", 1.0)], 1))
    assert asked == ["opened 32x on cpu", "generate"]

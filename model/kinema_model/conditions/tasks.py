"""The tasks of a model. All share one mechanism: some tokens of a clip are inputs, the others are generated.

Imports no torch, since the config of a model names its tasks. The inputs are described in `task_inputs`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import numpy as np

from kinema_model.errors import TaskError


class Task(StrEnum):
    """What is generated, and from which inputs."""

    TEXT = "text"
    PICTURE = "picture"
    IMAGE = "image"
    EXTEND = "extend"
    EXTEND_BACK = "extend-back"
    FILL = "fill"
    LOOP = "loop"
    INPAINT = "inpaint"
    EDIT = "edit"
    BLEND = "blend"


TRAINED_BY: Final[dict[Task, Task]] = {Task.EDIT: Task.TEXT}
"""Tasks without training of their own, each with the task whose training serves them."""


def can_do(task: Task, trained: tuple[Task, ...]) -> bool:
    """Whether a model trained for these tasks can do this one."""
    return TRAINED_BY.get(task, task) in trained


def check_task(task: Task, trained: tuple[Task, ...]) -> None:
    """Raise `TaskError` for a task that a model was not trained for."""
    if not can_do(task, trained):
        known = [name for name in Task if can_do(name, trained)]
        raise TaskError(f"This model was not trained for {task.value!r}. Use one of: {', '.join(known)}.")


def draw_task(mix: Mapping[Task, float], draw: np.random.Generator) -> Task:
    """A task of the mix, drawn with its weight; weights need not sum to 1."""
    tasks = sorted(mix)
    weights = np.array([mix[task] for task in tasks], dtype=np.float64)
    return tasks[int(draw.choice(len(tasks), p=weights / weights.sum()))]

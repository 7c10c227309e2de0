"""What ends a worker, and which failure class that is.

TrainingFailure                       (failure_class unknown)
├── BadConfiguration                  user_error
├── NumericsFailure                   numerics
├── MemoryExhausted                   out_of_memory
├── StorageFailure                    network
├── GroupFailure                      network: rounds end again and again before a step is done
└── GateNotMet                        unknown: see local/evaluation.py

A lost peer and a stale round are no failures: the worker ends with PEER_LOST or STALE_ROUND and its agent joins the
next round.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import ClassVar, Final

from kinema_api import launch
from kinema_api.training import FailureClass
from kinema_api.wire import LastWord
from kinema_jobs.errors import JobError
from kinema_jobs.memory import is_out_of_memory

PEER_LOST: Final = 75
"""Exit code of a worker whose collective broke (EX_TEMPFAIL of sysexits.h)."""
STALE_ROUND: Final = 76
"""Exit code of a worker whose round is over."""

_LONGEST_MESSAGE: Final = 2000
_BROKEN_COLLECTIVE = re.compile(r"gloo|nccl|connection (closed|reset|refused)|socket|store.*(timeout|timed out)", re.I)
_CGROUP: Final = Path("/sys/fs/cgroup")


class TrainingFailure(JobError):
    """Base of what ends a run's attempt. `str(error)` is one sentence with a remedy."""

    failure_class: ClassVar[FailureClass] = "unknown"

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


class BadConfiguration(TrainingFailure):
    """The configuration or the environment makes no sense."""

    failure_class = "user_error"


class NumericsFailure(TrainingFailure):
    """The loss is NaN or infinite."""

    failure_class = "numerics"


class MemoryExhausted(TrainingFailure):
    """Memory of the host or of a GPU ran out."""

    failure_class = "out_of_memory"


class StorageFailure(TrainingFailure):
    """The object store stayed away for longer than a trainer waits."""

    failure_class = "network"


class GroupFailure(TrainingFailure):
    """The group does not hold together long enough for a step."""

    failure_class = "network"


def out_of_memory_advice(what: str) -> str:
    """The sentence for a run that does not fit."""
    return f"{what}: raise worker.resources memory, lower optimization.batchTokens or train on more nodes"


def is_lost_peer(error: BaseException) -> bool:
    """Whether an exception says that a collective or the round's store broke, as gloo and NCCL put it."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and bool(_BROKEN_COLLECTIVE.search(str(error)))
    )


def last_word(error: BaseException, step: int | None) -> LastWord:
    """The failure class and sentence of an exception that ended a worker."""
    if isinstance(error, TrainingFailure):
        at = error.step if error.step is not None else step
        return LastWord(failure_class=error.failure_class, message=str(error)[:_LONGEST_MESSAGE], step=at)
    if is_out_of_memory(error):
        message = out_of_memory_advice("memory ran out")
        return LastWord(failure_class="out_of_memory", message=message, step=step)
    name = type(error).__name__
    message = f"{name}: {error}; see the log for where it happened"[:_LONGEST_MESSAGE]
    return LastWord(failure_class="unknown", message=message, step=step)


def leave_last_word(word: LastWord) -> None:
    """Leave the last word where Kubernetes looks for it, and on stderr."""
    print(f"{word.failure_class}: {word.message}", file=sys.stderr)
    if place := os.environ.get(launch.ENV_TERMINATION_LOG):
        try:
            Path(place).write_text(word.model_dump_json(by_alias=True, exclude_none=True))
        except OSError as error:
            print(f"the termination log cannot be written: {error}", file=sys.stderr)


def oom_kills(root: Path = _CGROUP, own: Path = Path("/proc/self/cgroup")) -> int:
    """The kernel's count of processes killed for memory in this cgroup (v2 memory.events, v1 memory.oom_control)."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return 0
    candidates: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if not controllers:
            candidates += [root / inside / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            v1 = root / "memory"
            candidates += [v1 / inside / "memory.oom_control", v1 / "memory.oom_control"]
    for candidate in candidates:
        if candidate.is_file():
            found = re.search(r"^oom_kill (\d+)$", candidate.read_text(), re.M)
            return int(found[1]) if found else 0
    return 0

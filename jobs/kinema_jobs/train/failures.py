"""Errors that end a worker, and the failure class of each.

TrainingFailure                       (failure_class unknown)
├── BadConfiguration                  user_error
├── NumericsFailure                   numerics
├── MemoryExhausted                   out_of_memory
├── HardwareFailure                   hardware: the run goes on without this node
├── StorageFailure                    network
├── AttemptOver                       preemption: a newer attempt has begun
└── GateNotMet                        unknown: see local/evaluation.py

A lost peer and a stale round are no failures: the worker ends with PEER_LOST or STALE_ROUND and its agent joins the
next round.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from kinema_api import launch
from kinema_api.errors import KinemaApiError
from kinema_api.training_status import FailureClass
from kinema_api.wire import EXIT_CODES, TerminationMessage
from kinema_dataset.errors import DatasetError
from kinema_jobs.errors import JobError
from kinema_jobs.memory import is_out_of_memory

PEER_LOST: Final = 75
"""Exit code of a worker whose collective broke (EX_TEMPFAIL of sysexits.h)."""
STALE_ROUND: Final = 76
"""Exit code of a worker whose round is over."""

_LONGEST_MESSAGE: Final = 2000
# Messages of CUDA, NCCL and the kernel about a broken device; the excluded Xids are errors of a program.
_HARDWARE: Final = re.compile(
    r"\bECC\b|\bXid\b(?!\D{0,40}\b(13|31|43|45)\b)|NVLink error|fallen off the bus|hardware stack error|GPU is lost|"
    r"no CUDA-capable device|devices? (is|are|is/are) busy or unavailable|"
    r"no space left on device|input/output error|read-only file system|disk quota exceeded",
    re.I,
)
_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
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


class HardwareFailure(TrainingFailure):
    """A device of this node is broken, or its disk is full: no trainer of the run should be placed here again."""

    failure_class = "hardware"


class StorageFailure(TrainingFailure):
    """The object store stayed away for longer than a trainer waits."""

    failure_class = "network"


class AttemptOver(TrainingFailure):
    """The control plane has closed this attempt."""

    failure_class = "preemption"


def out_of_memory_advice(what: str) -> str:
    """The sentence for a run that does not fit."""
    return f"{what}: raise worker.resources memory, lower optimization.batchTokens or train on more nodes"


def hardware_advice(what: BaseException) -> str:
    """The sentence for a node that is broken."""
    first = next(iter(str(what).splitlines()), type(what).__name__)
    return (
        f"this node's hardware or disk failed ({first[:300]}): the run continues without the node; see its kernel log "
        "and its disk before it is used again"
    )


def is_broken_hardware(error: BaseException) -> bool:
    """Whether an exception, or what it came from, says that a device or a disk of this node failed."""
    return any(
        bool(_HARDWARE.search(str(each))) or (isinstance(each, OSError) and each.errno in _DISK)
        for each in _own_causes(error)
    )


def _own_causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes on this rank: the error of a failed checkpoint contains those of all ranks."""
    from torch.distributed.checkpoint.api import CheckpointException

    seen: set[int] = set()
    found: list[BaseException | None] = [error]
    while found:
        each = found.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, CheckpointException):
            own = each.failures.get(_rank())
            found.append(own[0] if own else None)
            continue
        yield each
        found += [each.__cause__, each.__context__]


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def is_lost_peer(error: BaseException) -> bool:
    """Whether an exception says that a collective or the round's store broke, as gloo and NCCL put it.

    The message of a library that ran out of memory or met a broken device may name a collective too; no peer is lost.
    """
    from torch.distributed import DistError
    from torch.distributed.checkpoint.api import CheckpointException

    if isinstance(error, CheckpointException):
        return _rank() not in error.failures
    if is_out_of_memory(error) or is_broken_hardware(error):
        return False
    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and bool(_BROKEN_COLLECTIVE.search(str(error)))
    )


def termination_message(error: BaseException, step: int | None) -> TerminationMessage:
    """The failure class and sentence of an exception that ended a worker."""
    if isinstance(error, TrainingFailure):
        at = error.step if error.step is not None else step
        return TerminationMessage(failure_class=error.failure_class, message=str(error)[:_LONGEST_MESSAGE], step=at)
    if is_broken_hardware(error):
        return TerminationMessage(failure_class="hardware", message=hardware_advice(error), step=step)
    if any(is_out_of_memory(each) for each in _own_causes(error)):
        message = out_of_memory_advice("memory ran out")
        return TerminationMessage(failure_class="out_of_memory", message=message, step=step)
    if isinstance(error, DatasetError):
        return TerminationMessage(failure_class="user_error", message=str(error)[:_LONGEST_MESSAGE], step=step)
    if isinstance(error, KinemaApiError):
        return TerminationMessage(failure_class="network", message=str(error)[:_LONGEST_MESSAGE], step=step)
    name = type(error).__name__
    message = f"{name}: {error}; see the log for the traceback"[:_LONGEST_MESSAGE]
    return TerminationMessage(failure_class="unknown", message=message, step=step)


def word_of_exit_code(code: int, step: int | None) -> TerminationMessage | None:
    """The termination message of a worker that could not write one (full disk); None for a code of no class."""
    for failure_class, own in EXIT_CODES.items():
        if own == code and failure_class != "unknown":
            return TerminationMessage(
                failure_class=failure_class, message="see the trainer's log for what happened", step=step
            )
    return None


def write_termination_message(word: TerminationMessage) -> None:
    """Write the termination message to the termination log and to stderr."""
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

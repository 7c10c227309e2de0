"""Daemons that outlive the command that started them, and are stopped only if still the same process.

A record holds the process id together with the kernel's start time and the boot it belongs to: a process id
that was given to somebody else in the meantime never matches.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .progress import await_condition

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Record:
    """What identifies a started process for good."""

    pid: int
    started_ticks: int
    boot: str
    argv: list[str]

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return self.boot == BOOT_ID.read_text().strip() and start_ticks(self.pid) == self.started_ticks


class Daemons:
    """Starts and stops named daemons, with records and logs in a folder of their own."""

    def __init__(self, state: Path) -> None:
        self.records = state / "run"
        self.logs = state / "logs"

    def start(self, name: str, argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> bool:
        """Start `name` unless it runs; return whether it had to be started."""
        if self.running(name):
            return False
        self.records.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        arguments = [str(argument) for argument in argv]
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={**os.environ, **(environment or {})},
            )
        record = Record(process.pid, start_ticks(process.pid) or 0, BOOT_ID.read_text().strip(), arguments)
        (self.records / f"{name}.json").write_text(json.dumps(asdict(record), indent=1))
        return True

    def record(self, name: str) -> Record | None:
        """The record of `name`, or None if it was never started or was stopped."""
        path = self.records / f"{name}.json"
        return Record(**json.loads(path.read_text())) if path.exists() else None

    def running(self, name: str) -> bool:
        """Whether `name` was started here and still runs."""
        record = self.record(name)
        return record is not None and record.alive()

    def names(self) -> list[str]:
        """Names of all daemons on record."""
        return sorted(path.stem for path in self.records.glob("*.json"))

    def stop(self, name: str, *, grace_seconds: float = KILL_SECONDS) -> bool:
        """End `name`: SIGTERM, then SIGKILL after `grace_seconds`. Return whether it was running."""
        record = self.record(name)
        if record is None:
            return False
        alive = record.alive()
        if alive and grace_seconds > 0:
            os.kill(record.pid, signal.SIGTERM)
            await_condition(lambda: not record.alive(), grace_seconds)
        if record.alive():
            os.kill(record.pid, signal.SIGKILL)
            await_condition(lambda: not record.alive(), KILL_SECONDS)
        (self.records / f"{name}.json").unlink()
        return alive

    def log_tail(self, name: str, lines: int = 5) -> str:
        """The last lines of a daemon's log, to explain why it ended."""
        path = self.logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def start_ticks(pid: int) -> int | None:
    """Clock ticks since boot at which `pid` started; None for no process or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def all_pids() -> list[int]:
    """All process ids of the machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def children(pid: int) -> list[int]:
    """Process ids whose parent is `pid`."""
    return _children_by_parent().get(pid, [])


def descendants(pid: int) -> dict[int, int]:
    """Process id -> start ticks of everything below `pid`."""
    tree = _children_by_parent()
    found, frontier = {}, [pid]
    while frontier:
        for child in tree.get(frontier.pop(), []):
            frontier.append(child)
            if (ticks := start_ticks(child)) is not None:
                found[child] = ticks
    return found


def _children_by_parent() -> dict[int, list[int]]:
    tree: dict[int, list[int]] = {}
    for pid in all_pids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        tree.setdefault(int(fields[1]), []).append(pid)
    return tree

"""What every benchmark prints: one JSON line last, with the machine in words."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

CALM_IDLE = 0.85
"""Share of idle processor time of a machine on which only an idle cluster runs."""
CALM_SAMPLES = 8
"""That many seconds in a row."""


def percentile(samples: list[float], percent: float) -> float:
    """Nearest-rank percentile, which is always one of the values."""
    ordered = sorted(samples)
    index = max(0, -(-len(ordered) * percent // 100) - 1)
    return ordered[int(index)]


def machine() -> str:
    """The machine in words, without names or paths."""
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    return f"{os.cpu_count()} cores, {memory / 2**20:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}"


def quiet(seconds: float = 180.0) -> bool:
    """Wait until the processors are idle; False if they are not within the time."""
    deadline, calm = time.monotonic() + seconds, 0
    while calm < CALM_SAMPLES and time.monotonic() < deadline:
        idle, total = _processor_time()
        time.sleep(1)
        idle_then, total_then = _processor_time()
        calm = calm + 1 if idle_then - idle > CALM_IDLE * (total_then - total) else 0
    return calm == CALM_SAMPLES


def _processor_time() -> tuple[int, int]:
    times = [int(part) for part in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return times[3] + times[4], sum(times)


def result(bench: str, **figures: object) -> None:
    """The last line of a benchmark."""
    print(json.dumps({"bench": bench, **figures}), flush=True)

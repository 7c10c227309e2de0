"""What every benchmark prints: one JSON line last, with the machine in words."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path


def percentile(samples: list[float], percent: float) -> float:
    """Nearest-rank percentile: a value that was really seen."""
    ordered = sorted(samples)
    index = max(0, -(-len(ordered) * percent // 100) - 1)
    return ordered[int(index)]


def machine() -> str:
    """The machine in words, without names or paths."""
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    return f"{os.cpu_count()} cores, {memory / 2**20:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}"


def result(bench: str, **figures: object) -> None:
    """The last line of a benchmark."""
    print(json.dumps({"bench": bench, **figures}), flush=True)

"""Progress of long work on a terminal or in a CI log: one line for each part, with its seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

POLL_SECONDS = 0.1


@contextmanager
def part(name: str) -> Iterator[None]:
    """Print `name` with the seconds its body took, also when it failed."""
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{name}: failed after {time.monotonic() - started:.1f} s")
        raise
    say(f"{name}: {time.monotonic() - started:.1f} s")


def say(text: str) -> None:
    """Print one line at once, to standard error: standard output is for results."""
    print(f"[cluster] {text}", file=sys.stderr, flush=True)


def await_condition(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask `condition` until it holds; return whether it held within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True

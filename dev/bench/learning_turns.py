"""Runs of the learning benchmark take turns by slices, so that other load of the machine affects all equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.learning_folder import Folder
from bench.learning_race import Contender, Reading, Record, Rules, Run
from stage.slices import Slice


@dataclass(frozen=True)
class Entry:
    """A run to be done: how to make its contender, and its limit in seconds of training as far as it is known."""

    key: str
    make: Callable[[], Contender]
    limit: Callable[[], float]


class Turns:
    """Runs entries to their ends and prints the progress after each slice.

    `outlook` gives the seconds of training that each run of the whole benchmark is expected to take at most.
    """

    def __init__(
        self, folder: Folder, rules: Rules, slice_seconds: float, outlook: Callable[[], Mapping[str, float]]
    ) -> None:
        self._folder = folder
        self._rules = rules
        self._outlook = outlook
        self._begun = time.monotonic()
        self._slice = Slice(slice_seconds)
        self._trained = 0.0
        self._under_way: dict[str, Run] = {}

    def take(self, entries: Sequence[Entry]) -> list[Record]:
        """Run the entries to their ends, one slice each in turn; their records. Raises `SliceOver`."""
        self._under_way = {e.key: self._taken_up(e) for e in entries if e.key not in self._folder.records}
        while self._under_way:
            for entry in entries:
                if entry.key in self._under_way:
                    self._one_slice(entry, self._under_way[entry.key])
        return [self._folder.records[entry.key] for entry in entries]

    def _taken_up(self, entry: Entry) -> Run:
        run = Run(entry.make(), self._rules)
        self._folder.take_up(entry.key, run)
        return run

    def _one_slice(self, entry: Entry, run: Run) -> None:
        if not run.over(entry.limit()):
            self._slice.check()
            before = run.record.seconds
            reading = run.slice(entry.limit())
            self._trained += run.record.seconds - before
            self._folder.keep(entry.key, run)
            print(f"{entry.key}: {described(run.record, reading)}; {self._progress()}", flush=True)
        if run.over(entry.limit()):
            self._folder.end(entry.key, run.record)
            del self._under_way[entry.key]

    def _progress(self) -> str:
        expected = self._outlook()
        ended = self._folder.records
        open_seconds = sum(
            max(0.0, seconds - (self._under_way[key].record.seconds if key in self._under_way else 0.0))
            for key, seconds in expected.items()
            if key not in ended
        )
        pace = (time.monotonic() - self._begun) / max(self._trained, 1e-9)
        done = sum(key in ended for key in expected)
        return f"{done} of {len(expected)} runs done, about {open_seconds * pace / 60:.0f} min to go"


def described(record: Record, reading: Reading | None) -> str:
    """A run and its last reading in words."""
    so_far = f"{record.seconds:.0f} s, step {record.step}, loss {record.loss:.3f}"
    if reading is None:
        return f"{so_far}, which is not a number"
    right = f"colour {reading.colour}/{reading.read}, direction {reading.direction}/{reading.read}"
    return f"{so_far}, {right} of {reading.wanted}"

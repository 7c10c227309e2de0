"""Observes a run from outside all the time: steps of trainers, commits in the bucket, the status."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from kinema_api import head as heads
from kinema_api import layout
from kinema_api.errors import StorageError
from kinema_api.wire import TrainerProgress
from stage import install, kube, runs

POLL_SECONDS = 0.5
STORE_EVERY = 4
"""The bucket and the status are read once per this many reads of the trainers."""


@dataclass
class Span:
    """First and last observed time of a round's steps, in seconds since the epoch, and its steps."""

    first: float
    last: float
    steps: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Commit:
    """A checkpoint that the head of its attempt has named."""

    folder: str
    attempt: int
    round: int
    step: int
    epoch: int
    """Of the head that named it first."""


class Witness:
    """A thread that only reads."""

    def __init__(self, training: str, namespace: str) -> None:
        self._training, self._namespace = training, namespace
        self.pods: dict[str, runs.TrainerPod] = {}
        """Every trainer ever seen, by uid: one that Kubernetes considers dead may still step."""
        self.spans: dict[tuple[int, int], Span] = {}
        """By attempt and round."""
        self.commits: dict[tuple[int, str], Commit] = {}
        """By attempt and folder, in the order in which heads named them."""
        self.heads: list[tuple[int, heads.Head]] = []
        """Every head that was read, with its attempt."""
        self.lost: list[str] = []
        """Checkpoints that a status named and that were not whole in the bucket."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        for turn in itertools.count():
            if self._over.is_set():
                return
            # Reads fail during faults; try again later.
            with suppress(kube.StageError, StorageError, OSError, ValueError, subprocess.TimeoutExpired):
                self._look(turn % STORE_EVERY == 0)
            time.sleep(POLL_SECONDS)

    def _look(self, deep: bool) -> None:
        for pod in list(self.pods.values()):
            progress = pod.progress()
            if progress:
                self._stepped(progress)
        if not deep:
            return
        for pod in runs.trainer_pods(self._training, self._namespace):
            self.pods[pod.uid] = pod
        self._read_bucket()

    def _stepped(self, progress: TrainerProgress) -> None:
        at = runs.step_time(progress)
        if at is None or progress.world_size == 0:
            return
        span = self.spans.setdefault((progress.attempt, progress.round), Span(at, at))
        span.first, span.last = min(span.first, at), max(span.last, at)
        if not span.steps or span.steps[-1] != progress.step:
            span.steps.append(progress.step)

    def _read_bucket(self) -> None:
        found = kube.get("vmt", self._training, self._namespace)
        if found is None:
            return
        store, status, uid = install.store(), found.get("status", {}), found["metadata"]["uid"]
        attempt = status.get("attempt", 0)
        prefix = layout.attempt_prefix(self._namespace, self._training, uid, status.get("run", 1), attempt)
        seen = heads.read(store, prefix)
        if seen:
            self.heads.append((attempt, seen.head))
            for folder in reversed(seen.head.checkpoints):
                place = layout.parse_checkpoint_manifest(folder + layout.MANIFEST)
                if place and (attempt, folder) not in self.commits:
                    step, round_ = place
                    self.commits[attempt, folder] = Commit(folder, attempt, round_, step, seen.head.epoch)
        named = status.get("lastCheckpoint")
        if named:
            key = named["uri"].partition("://")[2].partition("/")[2].rstrip("/") + "/" + layout.MANIFEST
            if store.stat(key) is None and self._still_named(named["uri"]):
                self.lost.append(named["uri"])

    def _still_named(self, uri: str) -> bool:
        status = runs.training_status(self._training, self._namespace)
        return bool(status.get("lastCheckpoint", {}).get("uri") == uri)

    def violations(self) -> list[str]:
        """Descriptions of observed violations; empty if there were none."""
        found = [f"{uri} was named by the status and is not in the bucket" for uri in self.lost]
        spans = sorted(self.spans.items())
        for (number, span), (later, next_span) in itertools.pairwise(spans):
            if next_span.first < span.last:
                found.append(
                    f"round {number} stepped until {span.last:.2f} and round {later} from {next_span.first:.2f}"
                )
        for (attempt, before), (then, after) in itertools.pairwise(self.heads):
            if attempt != then:
                continue
            if (after.counter, after.epoch, after.round) < (before.counter, before.epoch, before.round):
                found.append(f"the head of attempt {attempt} went back: {before} -> {after}")
            if after.counter == before.counter and after != before:
                found.append(f"the head of attempt {attempt} changed without counting: {before} -> {after}")
        # In the order in which heads named them: a superseded group must not commit after its successor.
        for earlier, later_commit in itertools.pairwise(self.commits.values()):
            if (later_commit.attempt, later_commit.round) < (earlier.attempt, earlier.round):
                found.append(f"{later_commit} was committed after {earlier}")
        return found

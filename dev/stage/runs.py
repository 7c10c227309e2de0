"""Watches training runs from outside: every trainer's /progress, read straight from its pod."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kinema_api import names
from kinema_api.wire import TrainerProgress
from stage.kube import get, items, kubectl

PROBE_SECONDS = 0.5
WATCH_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class TrainerPod:
    """A live worker of a run."""

    name: str
    uid: str
    ip: str

    def progress(self) -> TrainerProgress | None:
        """What its agent answers now; None while it does not."""
        try:
            with urllib.request.urlopen(
                f"http://{self.ip}:{names.PROGRESS_PORT}/progress", timeout=PROBE_SECONDS
            ) as answer:
                return TrainerProgress.model_validate_json(answer.read())
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
            return None


def step_time(progress: TrainerProgress) -> float | None:
    """When a trainer ended its last step, in seconds since the epoch; None before its first."""
    return progress.last_step_time


def trainer_pods(training: str, namespace: str) -> list[TrainerPod]:
    """Workers that run now and are not being deleted."""
    selector = f"{names.LABEL_TRAINING}={training},{names.LABEL_COMPONENT}={names.COMPONENT_TRAINER}"
    found = []
    for pod in items("pods", namespace, selector):
        status, meta = pod.get("status", {}), pod["metadata"]
        if status.get("phase") == "Running" and status.get("podIP") and not meta.get("deletionTimestamp"):
            found.append(TrainerPod(meta["name"], meta["uid"], status["podIP"]))
    return found


def rendezvous_pod(training: str, namespace: str) -> dict[str, Any]:
    """The newest rendezvous of a run that is not being deleted.

    Raises:
        IndexError: there is none.
    """
    selector = f"{names.LABEL_TRAINING}={training},{names.LABEL_COMPONENT}={names.COMPONENT_STORE}"
    pods = [pod for pod in items("pods", namespace, selector) if not pod["metadata"].get("deletionTimestamp")]
    return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))[-1]


def stepping(training: str, namespace: str, world_size: int) -> list[tuple[TrainerPod, TrainerProgress]] | None:
    """The workers with their progress, if `world_size` of them share the newest round and have stepped in it."""
    seen = [(pod, progress) for pod in trainer_pods(training, namespace) if (progress := pod.progress())]
    if not seen:
        return None
    newest = max(progress.round for _, progress in seen)
    current = [(pod, p) for pod, p in seen if p.round == newest and p.world_size == world_size and p.last_step_time]
    return current if len(current) == world_size else None


def first_step_after(
    survivors: list[TrainerPod], round_: int, since: float, seconds: float
) -> tuple[float, TrainerProgress]:
    """(time, progress) of the first optimizer step that a survivor reports in a round above `round_`.

    The time is the trainer's own for that step, at most one poll late. Seconds since the epoch.

    Raises:
        TimeoutError: if no survivor steps in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for pod in survivors:
            progress = pod.progress()
            if progress and progress.round > round_ and progress.last_step_time and progress.last_step_time > since:
                return progress.last_step_time, progress
        time.sleep(WATCH_POLL_SECONDS)
    raise TimeoutError(f"no step within {seconds:.0f} s after the kill")


def training_status(training: str, namespace: str) -> dict[str, Any]:
    """The status of a training; empty while there is none."""
    return dict((get("videomodeltraining", training, namespace) or {}).get("status", {}))


def ended(training: str, namespace: str) -> str | None:
    """Succeeded or Failed, once the run has ended."""
    phase = training_status(training, namespace).get("phase")
    return phase if phase in ("Succeeded", "Failed") else None


def watch_status(kind: str, name: str, namespace: str, seconds: float) -> Iterator[dict[str, Any]]:
    """The status of an object, twice a second, until the caller has seen enough or nothing changed for so long."""
    status: dict[str, Any] = {}
    changed = time.monotonic()
    while time.monotonic() < changed + seconds:
        found = dict((get(kind, name, namespace) or {}).get("status", {}))
        if found != status:
            status, changed = found, time.monotonic()
        yield status
        time.sleep(PROBE_SECONDS)


def explain(kind: str, name: str, namespace: str) -> str:
    """What a person would look at first when something is wrong: conditions and the last events."""
    status = (get(kind, name, namespace) or {}).get("status", {})
    events = kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp", check=False)
    return json.dumps(status, indent=1) + "\n" + "\n".join(events.splitlines()[-12:])

"""`kinema logs`: the logs of a training's workers or of a model's servers."""

from __future__ import annotations

import threading
from queue import Queue
from typing import TYPE_CHECKING, Any, Final

import click

from kinema_api.names import (
    COMPONENT_EVALUATOR,
    COMPONENT_PREPARER,
    COMPONENT_PUBLISHER,
    COMPONENT_SERVER,
    COMPONENT_TRAINER,
    LABEL_ATTEMPT,
    LABEL_COMPONENT,
    LABEL_MODEL,
    LABEL_RUN,
    LABEL_TRAINING,
    PROGRESS_PORT,
)
from kinema_cli.errors import CommandError, NotFound
from kinema_cli.options import ClusterOptions, with_cluster, with_output
from kinema_cli.output import Output, printable

if TYPE_CHECKING:
    from kinema_cli.cluster import Cluster

_WORKING: Final = (COMPONENT_PREPARER, COMPONENT_TRAINER, COMPONENT_EVALUATOR, COMPONENT_PUBLISHER)
_STARTED: Final = ("Running", "Succeeded", "Failed")


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Follow the logs until the pods end.")
@click.option("--rank", type=click.IntRange(min=0), help="Only the worker that currently has this rank.")
@with_cluster
@with_output
def logs(name: str, follow: bool, rank: int | None, where: ClusterOptions, output: Output) -> None:
    """Print the logs of the workers of the training NAME (of its newest attempt), else of the servers of model NAME.

    The pods that prepare its clips, and that measure and publish its model, are among them.

    With several pods each line starts with its pod's name; with --json each line is an object.
    """
    cluster = where.connect()
    pods = _pods(cluster, name)
    if rank is not None:
        pods = [_of_rank(cluster, name, pods, rank)]
    started = [p["metadata"]["name"] for p in pods if p.get("status", {}).get("phase") in _STARTED]
    if not started:
        raise CommandError(f"no pod of {name} has started yet; try again, or see `kinema get`")
    if not follow or len(started) == 1:
        for pod in started:
            for line in cluster.log(pod, follow=follow):
                _print(pod, line, len(started) > 1, output)
        return
    _follow_all(cluster, started, output)


def _pods(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    working = f"{LABEL_COMPONENT} in ({','.join(_WORKING)})"
    workers = cluster.pods(f"{LABEL_TRAINING}={name},{working}")
    if workers:
        newest = max(_attempt(pod) for pod in workers)
        return [pod for pod in workers if _attempt(pod) == newest]
    servers = cluster.pods(f"{LABEL_MODEL}={name},{LABEL_COMPONENT}={COMPONENT_SERVER}")
    if not servers:
        raise NotFound(f"there is no pod of a training or model {name!r} in {cluster.namespace}; see `kinema get`")
    return servers


def _attempt(pod: dict[str, Any]) -> tuple[int, int]:
    labels = pod["metadata"].get("labels", {})
    return int(labels.get(LABEL_RUN, 0)), int(labels.get(LABEL_ATTEMPT, 0))


def _of_rank(cluster: Cluster, name: str, pods: list[dict[str, Any]], rank: int) -> dict[str, Any]:
    """The pod with a rank, according to the pods themselves: a completion index is not a rank."""
    seen: list[int] = []
    for pod in pods:
        try:
            answer = cluster.pod_get(pod["metadata"]["name"], PROGRESS_PORT, "progress")
        except CommandError:
            continue
        if answer.get("rank") == rank:
            return pod
        seen.append(int(answer.get("rank", -1)))
    known = ", ".join(str(r) for r in sorted(seen) if r >= 0) or "none that responds"
    raise NotFound(f"no worker of {name} has rank {rank} now (ranks: {known}); omit --rank to see all workers")


def _follow_all(cluster: Cluster, pods: list[str], output: Output) -> None:
    lines: Queue[tuple[str, str | None]] = Queue()

    def read(pod: str) -> None:
        try:
            for line in cluster.log(pod, follow=True):
                lines.put((pod, line))
        finally:
            lines.put((pod, None))

    for pod in pods:
        threading.Thread(target=read, args=(pod,), daemon=True).start()
    open_logs = len(pods)
    while open_logs:
        pod, line = lines.get()
        if line is None:
            open_logs -= 1
        else:
            _print(pod, line, True, output)


def _print(pod: str, line: str, several: bool, output: Output) -> None:
    if output.as_json:
        output.line({"pod": pod, "line": line})
    else:
        output.line(f"{pod}: {printable(line)}" if several else printable(line))

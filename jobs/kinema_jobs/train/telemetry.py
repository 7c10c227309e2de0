"""/progress, /metrics and /healthz of a node, served by the agent so that they answer while no worker lives."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kinema_api.listening import listen
from kinema_api.wire import TrainerProgress
from kinema_jobs.train.progress import ProgressFile, read_progress


class Served(Protocol):
    """What is served of a process."""

    def progress_body(self) -> str:
        """The body of /progress, JSON."""
        ...

    def scrape(self) -> bytes:
        """The metrics in Prometheus' text format."""
        ...


class Telemetry(Collector):
    """Reads the progress file on each request and adds what the agent knows."""

    def __init__(self, progress_file: Path, blank: ProgressFile) -> None:
        self._file = progress_file
        self._blank = blank
        self.rendezvous_silent: Callable[[], float | None] = lambda: None
        """Seconds since the rendezvous last answered; None: no attempt to reach it yet."""
        self.rendezvous_lease: Callable[[], float | None] = lambda: None
        """Seconds that workers run without the rendezvous; None: it has not answered yet."""
        self._recoveries: Counter[str] = Counter()
        self._reformed_at: float | None = None
        self._over: int | None = None
        """The newest round that is over, as far as this node knows."""
        self._recovery_seconds: float | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def round_ended(self, reason: str) -> None:
        """A round is over: "loss" of a member, a "resize", a "crash" of the worker here, a broken "collective", or
        too little "memory"."""
        self._recoveries[reason] += 1
        self._reformed_at = time.time()
        self._over = self.progress().round

    def progress(self) -> ProgressFile:
        """The newest progress; without a group once its round is over."""
        found = read_progress(self._file) or self._blank
        if found.round == self._over:
            return found.model_copy(update={"rank": -1, "world_size": 0, "nodes": 0})
        return found

    def wire_progress(self) -> TrainerProgress:
        """The newest progress as /progress serves it, with ages instead of times of this machine's clock."""
        found, now = self.progress(), time.monotonic()
        fields = found.model_dump(include=set(TrainerProgress.model_fields))
        ages = {
            "step_age_seconds": _age(found.step_ended_at, now),
            "rendezvous_silent_seconds": self.rendezvous_silent(),
            "rendezvous_lease_seconds": self.rendezvous_lease(),
        }
        answer = TrainerProgress(**{**fields, **ages})
        if answer.checkpoint is None:
            return answer
        committed = answer.checkpoint.model_copy(update={"age_seconds": _age(found.committed_at, now)})
        return answer.model_copy(update={"checkpoint": committed})

    def collect(self) -> Iterable[Metric]:
        """The metrics of this node."""
        now = self.progress()
        yield _gauge("step", "Completed optimizer steps", now.step)
        yield _gauge("steps_wanted", "Optimizer steps in all", now.total_steps)
        yield _gauge("round", "Number of the current round", now.round)
        yield _gauge("world_size", "Worker processes in the group", now.world_size)
        yield _gauge("rank", "Rank of this node's first worker", now.rank)
        yield _gauge("loss", "Loss of the last step, over the whole group", now.loss)
        yield _by_level("level_loss", "Loss of the last step by noise level", now.level_losses)
        yield _gauge("validation_loss", "Validation loss", now.validation_loss)
        yield _by_level("validation_level_loss", "Validation loss by noise level", now.validation_level_losses)
        yield _gauge("step_seconds", "Median duration of recent steps", now.step_seconds)
        yield _gauge("tokens_per_second", "Latent tokens per second over the whole group", now.tokens_per_second)
        yield _gauge("data_wait_seconds", "Seconds of waiting for data in this round", now.data_wait_seconds)
        yield _gauge(
            "checkpoint_seconds", "Seconds for which the last checkpoint blocked training", now.checkpoint_seconds
        )
        yield _gauge(
            "checkpoint_stall_seconds",
            "Seconds for which checkpoints blocked training in this round",
            now.checkpoint_stall_seconds,
        )
        yield _gauge("validation_stall_seconds", "Seconds of validation in this round", now.validation_stall_seconds)
        yield _gauge("recovery_seconds", "Seconds from the end of the last round to the next step", self._recovery(now))
        recoveries = CounterMetricFamily(
            "kinema_training_recoveries", "Rounds that ended before the run was complete", labels=["reason"]
        )
        for reason, count in self._recoveries.items():
            recoveries.add_metric([reason], count)
        yield recoveries

    def progress_body(self) -> str:
        """The body of /progress."""
        return self.wire_progress().model_dump_json(by_alias=True, exclude_none=True)

    def scrape(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _recovery(self, now: ProgressFile) -> float | None:
        first, ended = now.first_step_time, self._reformed_at
        if first is not None and ended is not None and first > ended:
            self._recovery_seconds, self._reformed_at = first - ended, None
        return self._recovery_seconds


def _age(at: float | None, now: float) -> float | None:
    return None if at is None else max(0.0, now - at)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    gauge = GaugeMetricFamily(f"kinema_training_{name}", text)
    if value is not None:
        gauge.add_metric([], value)
    return gauge


def _by_level(name: str, help_: str, losses: Sequence[float | None]) -> Metric:
    """One sample per bin of noise levels, named by its upper end."""
    gauge = GaugeMetricFamily(f"kinema_training_{name}", help_, labels=["level"])
    for number, loss in enumerate(losses, start=1):
        if loss is not None:
            gauge.add_metric([f"{number / len(losses):g}"], loss)
    return gauge


class _Server(ThreadingHTTPServer):
    """An HTTP server on a socket that listens already."""

    def __init__(self, listening: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_port = listening.getsockname()[1]


def serve(telemetry: Served, port: int) -> ThreadingHTTPServer:
    """Serve HTTP on `port` in background threads (0: any free port; see `server_port` of the result).

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/progress":
                self._answer(200, telemetry.progress_body().encode(), "application/json")
            elif self.path == "/metrics":
                self._answer(200, telemetry.scrape(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path == "/healthz":
                self._answer(200, b"ok\n", "text/plain")
            else:
                self._answer(404, b"ask for /progress, /metrics or /healthz\n", "text/plain")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            # The client may have closed the connection, which is no error.
            with suppress(ConnectionError):
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """No log line for each scrape."""

    server = _Server(listen(port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="telemetry", daemon=True).start()
    return server

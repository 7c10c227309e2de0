"""How far a preparing job is, for /progress, /metrics and the log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kinema_api.prepare import PrepareProgress

LOG_SECONDS: Final = 15.0
"""Seconds between two lines of the log about the same stage."""
logger = logging.getLogger(__name__)


class Progress(Collector):
    """What this worker knows; `tell` is given every change."""

    def __init__(self, tell: Callable[[PrepareProgress], None] = lambda now: None) -> None:
        self._now = PrepareProgress()
        self._tell = tell
        self._lock = threading.Lock()
        self._logged = 0.0
        self._clips = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def show(self, **changes: str | int) -> None:
        """Change some fields of the progress."""
        with self._lock:
            before, self._now = self._now, PrepareProgress.model_validate({**self._now.model_dump(), **changes})
            now = self._now
        self._tell(now)
        at = time.monotonic()
        if now.stage != before.stage or now.uri != before.uri or at - self._logged >= LOG_SECONDS:
            self._logged = at
            logger.info("%s: %s, %d of %d", now.uri, now.stage, now.done, now.total)

    def advance(self, clips: int = 0) -> None:
        """One unit more is prepared, with so many clips by this worker."""
        self._clips += clips
        self.show(done=min(self._now.done + 1, self._now.total))

    def progress_body(self) -> str:
        """The body of /progress."""
        return self._now.model_dump_json(by_alias=True)

    def scrape(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """The metrics of this worker."""
        done = GaugeMetricFamily("kinema_preparing_done", "Files of the current prefix that are prepared")
        done.add_metric([], self._now.done)
        total = GaugeMetricFamily("kinema_preparing_wanted", "Files of the current prefix")
        total.add_metric([], self._now.total)
        clips = CounterMetricFamily("kinema_preparing_clips", "Clips that this worker has looked at")
        clips.add_metric([], self._clips)
        yield from (done, total, clips)

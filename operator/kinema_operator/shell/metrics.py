"""Metrics for Prometheus: counters, and gauges that are computed from the cache at each scrape."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kinema_api import training
from kinema_operator.core.resources import CUSTOM_KINDS
from kinema_operator.shell.cache import ObjectCache, name_of
from kinema_operator.shell.informer import Informer

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

RECONCILES: Final = Counter(
    "kinema_operator_reconciles", "Reconciles by kind and result.", ["kind", "result"], registry=REGISTRY
)
RECONCILE_SECONDS: Final = Histogram(
    "kinema_operator_reconcile_seconds",
    "Duration of a reconcile in seconds.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=REGISTRY,
)
LOOK_SECONDS: Final = Histogram(
    "kinema_operator_look_seconds",
    "CPU seconds that a reconcile used on the event loop, without time spent waiting.",
    ["kind"],
    buckets=(*(step / 2000 for step in range(1, 11)), 0.006, 0.008, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1),
    registry=REGISTRY,
)
QUEUE_WAIT_SECONDS: Final = Histogram(
    "kinema_operator_queue_wait_seconds",
    "Seconds that a resource was queued before its reconcile started.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=REGISTRY,
)
WRITES: Final = Counter(
    "kinema_operator_writes", "Writes to the API server by kind and method.", ["kind", "way"], registry=REGISTRY
)
ERRORS: Final = Counter(
    "kinema_operator_errors", "Failed reconciles by kind and error.", ["kind", "error"], registry=REGISTRY
)
REFUSALS: Final = Counter(
    "kinema_operator_refusals",
    "Objects that the API server refused, by kind and reason.",
    ["kind", "reason"],
    registry=REGISTRY,
)


class State(Collector):
    """Gauges that are computed at each scrape."""

    def __init__(
        self,
        cache: ObjectCache,
        informers: Iterable[Informer],
        queue_depth: Callable[[], int],
        leading: Callable[[], bool],
    ) -> None:
        self._cache = cache
        self._informers = tuple(informers)
        self._queue_depth = queue_depth
        self._leading = leading

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All gauges as they are now."""
        yield GaugeMetricFamily(
            "kinema_operator_leader", "1 if this replica leads, else 0.", value=float(self._leading())
        )
        yield GaugeMetricFamily(
            "kinema_operator_queue_depth", "Resources in the reconcile queue.", value=self._queue_depth()
        )
        ages = GaugeMetricFamily(
            "kinema_operator_watch_age_seconds", "Seconds since the last event or response of a watch.", labels=["kind"]
        )
        for informer in self._informers:
            ages.add_metric([informer.kind], informer.age)
        yield ages
        yield self._objects()
        yield self._accuracy()

    def _objects(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily("kinema_objects", "Resources by kind and phase.", labels=["kind", "phase"])
        for kind in CUSTOM_KINDS:
            phases = Tally((obj.get("status") or {}).get("phase", "Pending") for obj in self._cache.list(kind))
            for phase, count in sorted(phases.items()):
                family.add_metric([kind, phase], count)
        return family

    def _accuracy(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "kinema_evaluation_accuracy",
            "Accuracy of the model of a training's current run, from 0 to 1, by metric.",
            labels=["namespace", "training", "metric"],
        )
        for obj in self._cache.list(training.KIND):
            measured = ((obj.get("status") or {}).get("evaluation") or {}).get("accuracy") or {}
            for metric, share in sorted(measured.items()):
                family.add_metric([*name_of(obj), metric], share)
        return family

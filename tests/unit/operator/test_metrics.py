"""What Prometheus reads off the operator's cache."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from kinema_api import generation, training
from kinema_operator.core.resources import CUSTOM_KINDS
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.shell.metrics import State


def _registry(*objects: dict[str, Any], leading: bool = True) -> CollectorRegistry:
    cache = ObjectCache(lambda changed: None)
    for kind in CUSTOM_KINDS:
        cache.watch_kind(kind, {})
    for found in objects:
        cache.offer(found)
    registry = CollectorRegistry()
    registry.register(State(cache, (), lambda: 3, lambda: leading))
    return registry


def _object(kind: str, name: str, status: dict[str, Any] | None = None) -> dict[str, Any]:
    metadata = {"namespace": "films", "name": name, "uid": name, "resourceVersion": "1"}
    return {"kind": kind, "metadata": metadata, **({"status": status} if status is not None else {})}


def test_resources_are_counted_by_phase_and_new_ones_are_pending() -> None:
    registry = _registry(
        _object(training.KIND, "one", {"phase": "Running"}),
        _object(training.KIND, "two", {"phase": "Running"}),
        _object(generation.KIND, "new"),
    )
    assert registry.get_sample_value("kinema_objects", {"kind": training.KIND, "phase": "Running"}) == 2
    assert registry.get_sample_value("kinema_objects", {"kind": generation.KIND, "phase": "Pending"}) == 1


def test_each_metric_of_a_measured_training_has_a_gauge_and_others_have_none() -> None:
    registry = _registry(
        _object(training.KIND, "measured", {"evaluation": {"accuracy": {"colour": 0.97, "shape": 0.5}}}),
        _object(training.KIND, "not-yet", {"evaluation": {"modelDigest": "a"}}),
        _object(training.KIND, "new"),
    )
    families = {family.name: family for family in registry.collect()}
    told = {
        (sample.labels["namespace"], sample.labels["training"], sample.labels["metric"]): sample.value
        for sample in families["kinema_evaluation_accuracy"].samples
    }
    assert told == {("films", "measured", "colour"): 0.97, ("films", "measured", "shape"): 0.5}


def test_who_leads_and_what_waits_is_told() -> None:
    registry = _registry(leading=False)
    assert registry.get_sample_value("kinema_operator_leader") == 0
    assert registry.get_sample_value("kinema_operator_queue_depth") == 3

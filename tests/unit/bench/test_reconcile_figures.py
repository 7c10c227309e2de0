"""What the benchmark of many starts reads from an audit log, and that its finished resources leave nothing to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench import finished
from bench.starts import histogram_percentile, read
from kinema_api.generation import VideoGeneration
from kinema_api.training import VideoModelTraining
from kinema_operator.core.kstatus import Findings, finish
from kinema_operator.core.plan import Plan
from kinema_operator.core.semantic import keeping_unknown, merge_patch
from kinema_operator.core.settings import Settings
from kinema_operator.generation import plan as generation_plan
from kinema_operator.generation.observed import Observed as GenerationObserved
from kinema_operator.training.observed import Observed
from kinema_operator.training.plan import decide
from kinema_operator.training.view import View

OPERATOR = "system:serviceaccount:kinema-system:kinema-operator"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(
    at: float, verb: str, resource: str, name: str, user: str = OPERATOR, code: int = 201, **ref: str
) -> dict[str, Any]:
    return {
        "stage": "ResponseComplete",
        "stageTimestamp": (NOW + timedelta(seconds=at)).isoformat().replace("+00:00", "Z"),
        "verb": verb,
        "user": {"username": user},
        "responseStatus": {"code": code},
        "objectRef": {"namespace": "n", "resource": resource, "name": name, **ref},
    }


def start(name: str, at: float, seconds: float) -> list[dict[str, Any]]:
    """A training as the log has it."""
    return [
        event(at, "create", "videomodeltrainings", name, user="admin"),
        event(at + 0.1, "create", "secrets", f"{name}-storage"),
        event(at + 0.2, "patch", "videomodeltrainings", name, code=200, subresource="status"),
        event(at + seconds - 0.5, "create", "jobs", f"{name}-r1-a1"),
        event(at + seconds, "create", "pods", f"{name}-r1-a1-store"),
        event(at + 30, "patch", "videomodeltrainings", name, code=200, subresource="status"),
    ]


SHARED = [
    event(1, "create", "services", "kinema-rendezvous"),
    event(1.5, "create", "networkpolicies", "kinema-trainings"),
    event(1.6, "create", "networkpolicies", "kinema-trainings", code=409),
]


def test_a_training_waits_for_its_job_and_for_the_last_of_its_children() -> None:
    found = read([*start("many-0000", 0, 4), *start("many-0001", 1, 2), *SHARED], "n", OPERATOR)
    assert found.to_job() == [pytest.approx(3.5), pytest.approx(1.5)]
    assert found.to_children() == [pytest.approx(4), pytest.approx(2)]
    assert found.jobs_per_second() == pytest.approx(2 / 3.5)
    assert found.each("patch videomodeltrainings/status") == 2
    assert found.each("patch videomodeltrainings/status", burst=True) == 1
    assert found.creations() == (3 * 2 + 2) / 2, "what was refused made nothing"
    assert found.each("create events") == 0


def test_a_training_that_lacks_something_has_not_all_children() -> None:
    whole, halves = start("many-0000", 0, 4), start("many-0001", 0, 4)
    lacking = [e for e in halves if e["objectRef"]["resource"] != "secrets"]
    assert len(read([*whole, *lacking, *SHARED], "n", OPERATOR).to_children()) == 1
    assert read(whole, "n", OPERATOR).to_children() == [], "what is shared is missing"
    assert read([*whole, *SHARED], "elsewhere", OPERATOR).born == {}


def test_the_percentile_of_a_histogram_is_a_bound_that_is_not_passed() -> None:
    counts = {"0.001": 90, "0.005": 99, "0.01": 100, "+Inf": 100}
    metrics = {f'looks_bucket{{kind="A",le="{bound}"}}': float(n) for bound, n in counts.items()}
    metrics |= {f'looks_bucket{{kind="B",le="{bound}"}}': 0.0 for bound in counts}
    assert histogram_percentile(metrics, "looks", 50) == (0.001, 100)
    assert histogram_percentile(metrics, "looks", 99) == (0.005, 100)
    assert histogram_percentile(metrics, "looks", 99.5) == (0.01, 100)
    assert histogram_percentile({}, "looks", 99) == (0.0, 0)


def taken(index: int) -> dict[str, Any]:
    """A finished resource as the API server has it then."""
    obj = finished.finished("n", index)
    obj["metadata"] |= {"uid": f"u{index}", "resourceVersion": "1", "generation": 1}
    obj["metadata"]["annotations"] = finished.annotated(obj)
    return obj | {"status": finished.status(obj, NOW)}


@pytest.mark.parametrize("index", range(6))
def test_an_operator_has_nothing_to_do_for_what_has_ended(index: int) -> None:
    obj, settings = taken(index), Settings(store_endpoint="http://minio:9000")
    plan: Plan
    if obj["kind"] == "VideoModelTraining":
        plan = decide(View(VideoModelTraining.parse(obj), Observed(), settings, NOW))
    else:
        plan = generation_plan.plan(VideoGeneration.parse(obj), GenerationObserved(), settings, NOW)
    assert (plan.apply, plan.delete, plan.patches, plan.effects, plan.events) == ((), (), (), (), ())
    after: Any = obj["status"]
    if plan.status is not None:
        after = keeping_unknown(after, plan.status.to_wire(), type(plan.status))  # type: ignore[union-attr]
    assert merge_patch(obj["status"], finish(obj, after, Findings(), NOW)) == {}

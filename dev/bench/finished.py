"""Trainings and generations that ended long ago: most objects of a namespace, which need no work of the operator.

Their statuses are as the operator leaves them, completed by its own `finish`, so that it finds nothing to write. Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from kinema_api import generation, layout, names, training
from kinema_api.base import Condition
from kinema_api.generation import Artefact, VideoArtefact, VideoGenerationStatus
from kinema_api.training import ArtifactsRecord
from kinema_api.training_status import NodeCount, PublishedModel, VideoModelTrainingStatus
from kinema_operator.core.kstatus import Findings, finish
from stage.objects import resource

DIGEST = "sha256:" + "5" * 64
HOURS = 5


def finished(namespace: str, index: int) -> dict[str, Any]:
    """Every third one a training, of which every other one failed; the rest generations."""
    if index % 3:
        spec = {"modelRef": {"name": "tiny-world"}, "prompt": f"a red square moves right, number {index}", "seconds": 1}
        return resource(generation.KIND, f"clip-{index:04d}", spec, namespace)
    spec = {
        "model": {"preset": "tiny"},
        "data": {"world": {"seed": index}},
        "optimization": {"steps": 100},
        "nodes": 2,
        "publish": {"model": "tiny-world"},
    }
    return resource(training.KIND, f"done-{index:04d}", spec, namespace)


def plural(obj: dict[str, Any]) -> str:
    """The plural of a resource's kind."""
    return training.PLURAL if obj["kind"] == training.KIND else generation.PLURAL


def annotated(obj: dict[str, Any]) -> dict[str, str]:
    """Annotations that the operator adds to a created resource."""
    if obj["kind"] != training.KIND or _failed(obj):
        return {}
    return {names.ANNOTATION_ARTIFACTS: str(ArtifactsRecord(obj["metadata"]["uid"], 1, None))}


def status(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The final status of a created resource."""
    ended = now - timedelta(hours=HOURS)
    made = _training_status(obj, ended) if obj["kind"] == training.KIND else _generation_status(obj, ended)
    return finish(obj, made, Findings(), ended)


def _training_status(obj: dict[str, Any], ended: datetime) -> dict[str, Any]:
    failed = _failed(obj)
    conditions = [_condition("Accepted", True, "Valid", "The spec is valid", ended)]
    if failed:
        message = "the loss is not finite at step 12 after 3 failures of this kind"
        conditions.append(_condition("Failed", True, "NumericsFailed", message, ended))
    else:
        conditions.append(_condition("Succeeded", True, "Published", f"Published {DIGEST}", ended))
    conditions.append(_condition("Running", False, "Ended", "The run has ended", ended))
    uri = f"s3://kinema/{layout.model_prefix(DIGEST)}"
    return VideoModelTrainingStatus(
        phase="Failed" if failed else "Succeeded",
        conditions=tuple(conditions),
        run=1,
        attempt=3 if failed else 1,
        nodes=NodeCount(desired=2),
        selector=f"{names.LABEL_TRAINING}={obj['metadata']['name']}",
        restarts={"numerics": 2} if failed else {},
        published=None if failed else PublishedModel(digest=DIGEST, uri=uri, run=1, time=ended),
        start_time=ended - timedelta(hours=1),
        completion_time=ended,
        cleaned_run=0 if failed else 1,
    ).to_wire()


def _generation_status(obj: dict[str, Any], ended: datetime) -> dict[str, Any]:
    metadata = obj["metadata"]
    prefix = f"s3://kinema/generations/{metadata['namespace']}/{metadata['uid']}"

    def file(name: str) -> dict[str, Any]:
        return {"uri": f"{prefix}/{name}", "sha256": "5" * 64, "bytes": 40_000}

    reasons = {"Accepted": "Valid", "Scheduled": "Assigned", "Running": "Rendering", "Succeeded": "Committed"}
    return VideoGenerationStatus(
        phase="Succeeded",
        conditions=tuple(_condition(type_, True, reason, "", ended) for type_, reason in reasons.items()),
        attempt=1,
        video=VideoArtefact(**file("video.mp4"), seconds=1.0, size="24x24", fps=8),
        thumbnail=Artefact(**file("thumbnail.webp")),
        spritesheet=Artefact(**file("spritesheet.webp")),
        seed=7,
        model_digest=DIGEST,
        cleaned=True,
        completion_time=ended,
    ).to_wire()


def _failed(obj: dict[str, Any]) -> bool:
    return int(obj["metadata"]["name"].rpartition("-")[2]) % 2 == 1


def _condition(type_: str, value: bool, reason: str, message: str, at: datetime) -> Condition:
    return Condition(
        type=type_, status="True" if value else "False", reason=reason, message=message, last_transition_time=at
    )

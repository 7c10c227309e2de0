"""The record of a commit (commit.json) beside the clip, since a restore of the cluster loses the status.

A request without a status takes its outcome from the record. The files are verified as in every commit, so a wrong
record commits nothing. All calls block.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, ValidationError

from kinema_api import layout
from kinema_api.base import ApiModel, Digest, LongText
from kinema_api.errors import ObjectMissing
from kinema_api.generation import MAX_SEAMS, Delivery, PromptStatus, Seam, Timings, VideoGenerationStatus
from kinema_api.objectstore import ObjectStore

MAX_BYTES: Final = 1 << 16


class CommitRecord(ApiModel):
    """The fields of a status that describe a committed clip."""

    model_digest: Digest
    seed: int
    attempt: int
    delivery: Delivery
    timings: Timings | None = None
    expanded_prompt: LongText | None = None
    seams: Annotated[tuple[Seam, ...], Field(max_length=MAX_SEAMS)] = ()
    prompt: PromptStatus | None = None
    committed: datetime | None = None

    def restored(self, status: VideoGenerationStatus) -> VideoGenerationStatus:
        """`status` as it was before the commit; the next reconcile commits, which copies nothing."""
        return status.model_copy(
            update={
                "phase": "Running",
                "model_digest": self.model_digest,
                "seed": self.seed,
                "attempt": self.attempt,
                "delivery": self.delivery,
                "timings": self.timings,
                "expanded_prompt": self.expanded_prompt,
                "seams": self.seams,
                "prompt": self.prompt,
            }
        )


def record_of(status: VideoGenerationStatus, now: datetime) -> CommitRecord | None:
    """The record for a status whose delivery is fixed."""
    if status.delivery is None or status.model_digest is None or status.seed is None:
        return None
    return CommitRecord(
        model_digest=status.model_digest,
        seed=status.seed,
        attempt=status.attempt,
        delivery=status.delivery,
        timings=status.timings,
        expanded_prompt=status.expanded_prompt,
        seams=status.seams,
        prompt=status.prompt,
        committed=now,
    )


def write(store: ObjectStore, namespace: str, uid: str, record: CommitRecord) -> None:
    """Write the record beside the clip. Raises StorageError."""
    body = record.model_dump_json(by_alias=True, exclude_none=True).encode()
    store.put(layout.generation_prefix(namespace, uid) + layout.COMMIT, body, "application/json")


def exists(store: ObjectStore, namespace: str, uid: str) -> bool:
    """Whether there is a record. Raises StorageError."""
    return store.stat(layout.generation_prefix(namespace, uid) + layout.COMMIT) is not None


def find(store: ObjectStore, namespace: str, uid: str) -> CommitRecord | None:
    """The record of this request from before a restore, or None. Raises StorageError."""
    key = layout.generation_prefix(namespace, uid) + layout.COMMIT
    known = store.stat(key)
    if known is None or known.bytes > MAX_BYTES:
        return None
    try:
        return CommitRecord.model_validate_json(store.get(key))
    except (ObjectMissing, ValidationError):
        return None

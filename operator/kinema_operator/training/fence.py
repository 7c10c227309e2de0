"""The fence between attempts: which checkpoint a new attempt resumes from, and which old ones may go.

Candidates are what the attempt before committed, newest round first, then newest step: a later round had the right
to write, whatever an older one still commits. Behind them stands the checkpoint that the attempt before had itself
resumed from, then those that were older than it when it was chosen. The choice goes into the status before anything
of the new attempt exists; no manifest that an older attempt commits afterwards is read for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kinema_api import layout
from kinema_api.errors import BrokenManifest, ObjectMissing
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStat, ObjectStore

_ATTEMPT: Final = re.compile(r"^(.*/run-\d+/attempt-(\d+)/)")
_FOLDER: Final = re.compile(r"^(.*/attempt-(\d+)/step-(\d+)/round-(\d+)/)[^/]+$")


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A checkpoint's folder. The order is that of authority: attempt, round, step."""

    attempt: int
    round: int
    step: int
    prefix: str


@dataclass(frozen=True)
class Found:
    """A checkpoint to resume from, and the newer ones that could not be used."""

    checkpoint: Checkpoint | None
    passed_over: tuple[str, ...]


def committed(keys: Iterable[str]) -> list[Checkpoint]:
    """Checkpoints whose manifest is among `keys`, newest first."""
    found = []
    for key in keys:
        at, place = layout.parse_checkpoint_manifest(key), _ATTEMPT.match(key)
        if at and place:
            prefix = key.removesuffix(layout.MANIFEST)
            found.append(Checkpoint(attempt=int(place[2]), round=at[1], step=at[0], prefix=prefix))
    return sorted(found, reverse=True)


def candidates(last_attempt: Iterable[str], resumed_from: str | None, its_attempt: Iterable[str]) -> list[Checkpoint]:
    """What a new attempt may resume from, best first.

    Args:
        last_attempt: keys below the attempt that is over.
        resumed_from: prefix of the checkpoint that that attempt started from.
        its_attempt: keys below the attempt that wrote `resumed_from`.
    """
    newest = committed(last_attempt)
    if resumed_from is None:
        return newest
    (fixed,) = committed([resumed_from + layout.MANIFEST])
    return newest + [fixed] + [older for older in committed(its_attempt) if older < fixed]


def _further_back(ordered: Sequence[Checkpoint], resumed_from: str | None) -> list[Checkpoint]:
    """Of candidates in their order those older than what the last attempt started from, then the oldest there are."""
    if resumed_from is None:
        return []
    (fixed,) = committed([resumed_from + layout.MANIFEST])
    older = [candidate for candidate in ordered if candidate.step < fixed.step]
    # Rather the same once more than all of the run: the batch that failed is passed over by now.
    return older + sorted((c for c in ordered if c not in older), key=lambda c: c.step)


def find(store: ObjectStore, last_attempt: str, resumed_from: str | None, *, further_back: bool = False) -> Found:
    """The newest whole checkpoint that the fence allows; torn ones are passed over. Blocks.

    Args:
        store: where the checkpoints lie.
        last_attempt: prefix of the attempt that is over.
        resumed_from: prefix of the checkpoint that it started from.
        further_back: what it started from leads to a loss that is not finite: start from an older one.

    Raises:
        StorageError: the store cannot be used now.
    """
    objects = {found.key: found for found in store.list(last_attempt)}
    older: dict[str, ObjectStat] = {}
    if resumed_from and (place := _ATTEMPT.match(resumed_from)):
        older = {found.key: found for found in store.list(place[1])}
    passed_over: list[str] = []
    ordered = candidates(objects, resumed_from, older)
    for candidate in _further_back(ordered, resumed_from) if further_back else ordered:
        if _is_whole(store, candidate, older | objects):
            return Found(candidate, tuple(passed_over))
        passed_over.append(candidate.prefix)
    return Found(None, tuple(passed_over))


def _is_whole(store: ObjectStore, checkpoint: Checkpoint, objects: dict[str, ObjectStat]) -> bool:
    key = checkpoint.prefix + layout.MANIFEST
    try:
        manifest = Manifest.read(store, key)
    except (BrokenManifest, ObjectMissing):
        return False
    at = (manifest.kind, manifest.attempt, manifest.round, manifest.step)
    if at != ("checkpoint", checkpoint.attempt, checkpoint.round, checkpoint.step):
        return False
    sizes = {name: found.bytes for name, found in objects.items()}
    return all(sizes.get(checkpoint.prefix + file.name) == file.bytes for file in manifest.files)


def to_prune(keys: Sequence[str], keep: int, protected: Iterable[str]) -> list[str]:
    """Keys to delete, manifests first, so that what is half deleted does not exist.

    The `keep` newest committed checkpoints and the `protected` prefixes stay; so does whatever is newer than the
    newest committed one, since it may still be being written.
    """
    whole = committed(keys)
    if not whole:
        return []
    kept = {checkpoint.prefix for checkpoint in whole[:keep]} | set(protected)
    doomed = []
    for key in keys:
        folder = _FOLDER.match(key)
        if not folder or folder[1] in kept:
            continue
        at = (int(folder[2]), int(folder[4]), int(folder[3]))
        if at < (whole[0].attempt, whole[0].round, whole[0].step):
            doomed.append(key)
    return sorted(doomed, key=lambda key: (not key.endswith("/" + layout.MANIFEST), key))
